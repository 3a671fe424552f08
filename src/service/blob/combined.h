#ifndef CASTOR_SERVICE_BLOB_COMBINED_H
#define CASTOR_SERVICE_BLOB_COMBINED_H

#include "service/blob/blob_service.h"

/* Blobs of `near`, and of `far` where near does not have them. What is put goes to near; what is read
 * from far is not kept. Takes references. */
struct blob_service *blob_combined_new(struct blob_service *near, struct blob_service *far);

#endif
