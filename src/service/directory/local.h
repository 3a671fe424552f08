#ifndef CASTOR_SERVICE_DIRECTORY_LOCAL_H
#define CASTOR_SERVICE_DIRECTORY_LOCAL_H

#include "local/local_store.h"
#include "service/directory/directory_service.h"

/* The directories of an on-disk store; takes a reference on it. */
struct directory_service *directory_local_new(struct local_store *store);

#endif
