#ifndef CASTOR_SERVICE_BLOB_MEMORY_H
#define CASTOR_SERVICE_BLOB_MEMORY_H

#include "service/blob/blob_service.h"

/* Blobs in this process's memory, chunked as everywhere. For tests and short-lived programs. */
struct blob_service *blob_memory_new(void);

#endif
