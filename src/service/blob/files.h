#ifndef CASTOR_SERVICE_BLOB_FILES_H
#define CASTOR_SERVICE_BLOB_FILES_H

#include "service/blob/blob_service.h"

/* One plain file per blob, under dir (made if absent), as <2 hex>/<64 hex>; no chunks, no index. A
 * file is there under its name only when it is whole and synced. Offers descriptors. */
enum rc blob_files_open(const char *dir, struct blob_service **out, struct err *err) MUST_USE;

#endif
