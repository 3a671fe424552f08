#ifndef CASTOR_SERVICE_PATH_INFO_CACHE_H
#define CASTOR_SERVICE_PATH_INFO_CACHE_H

#include "service/path_info/path_info_service.h"

/* Path infos of `near`, and of `far` where near has none. keep: what far answered is put into near,
 * which is right only where its content is near too. Puts and lists are near's. Takes references. */
struct path_info_service *path_info_cache_new(struct path_info_service *near,
					      struct path_info_service *far, bool keep);

#endif
