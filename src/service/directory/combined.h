#ifndef CASTOR_SERVICE_DIRECTORY_COMBINED_H
#define CASTOR_SERVICE_DIRECTORY_COMBINED_H

#include "service/directory/directory_service.h"

/* Directories of `near`, and of `far` where near does not have them. What is put goes to near; what is
 * read from far is not kept. Takes references. */
struct directory_service *directory_combined_new(struct directory_service *near,
						 struct directory_service *far);

#endif
