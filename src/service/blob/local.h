#ifndef CASTOR_SERVICE_BLOB_LOCAL_H
#define CASTOR_SERVICE_BLOB_LOCAL_H

#include "local/local_store.h"
#include "service/blob/blob_service.h"

/* The blobs of an on-disk store; takes a reference on it. */
struct blob_service *blob_local_new(struct local_store *store);

#endif
