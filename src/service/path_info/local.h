#ifndef CASTOR_SERVICE_PATH_INFO_LOCAL_H
#define CASTOR_SERVICE_PATH_INFO_LOCAL_H

#include "local/local_store.h"
#include "service/path_info/nar_facts.h"
#include "service/path_info/path_info_service.h"

/* The path infos, and the NAR facts, of an on-disk store; each takes a reference on it. */
struct path_info_service *path_info_local_new(struct local_store *store);
struct nar_facts_store *nar_facts_local_new(struct local_store *store);

#endif
