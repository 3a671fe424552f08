#ifndef CASTOR_SERVICE_DIRECTORY_MEMORY_H
#define CASTOR_SERVICE_DIRECTORY_MEMORY_H

#include "service/directory/directory_service.h"

struct directory_service *directory_memory_new(void);

#endif
