#ifndef CASTOR_SERVICE_PATH_INFO_MEMORY_H
#define CASTOR_SERVICE_PATH_INFO_MEMORY_H

#include "service/path_info/nar_facts.h"
#include "service/path_info/path_info_service.h"

struct path_info_service *path_info_memory_new(void);
struct nar_facts_store *nar_facts_memory_new(void);

#endif
