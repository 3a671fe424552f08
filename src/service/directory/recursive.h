#ifndef CASTOR_SERVICE_DIRECTORY_RECURSIVE_H
#define CASTOR_SERVICE_DIRECTORY_RECURSIVE_H

#include "service/directory/directory_service.h"

/* The closure of root made of single gets, for services that have no faster way. Borrows service
 * (the wrapper's iterator holds a reference on it). */
struct directory_iter *directory_recursive_new(struct directory_service *service,
					       const struct digest *root);

#endif
