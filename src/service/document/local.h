#ifndef CASTOR_SERVICE_DOCUMENT_LOCAL_H
#define CASTOR_SERVICE_DOCUMENT_LOCAL_H

#include "local/local_store.h"
#include "service/document/document_store.h"

enum rc document_local_new(struct local_store *store, struct document_store **out,
			   struct err *err) MUST_USE;

#endif
