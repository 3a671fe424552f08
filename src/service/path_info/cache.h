#ifndef CASTOR_SERVICE_PATH_INFO_CACHE_H
#define CASTOR_SERVICE_PATH_INFO_CACHE_H

#include "service/path_info/path_info_service.h"

struct path_info_cache_options {
	/* What far answered is put into near, which is right only where its content is near too. */
	bool keep;
	/* Where far cannot be asked, that is the outcome. Else it is a miss, far is not asked again for a
	 * while, and the log says so once. */
	bool required;
	const char *name; /* of far, for the log; borrowed; may be NULL */
	int64_t away_ns; /* how long it is left out at first; doubles, up to twelve times that; 0: 5 s */
};

/* Path infos of `near`, and of `far` where near has none: also where near is such a pair itself, and what
 * its far one has is not signed by anybody who is trusted. Puts and lists are near's. Takes references. */
struct path_info_service *path_info_cache_new(struct path_info_service *near,
					      struct path_info_service *far,
					      const struct path_info_cache_options *options);

#endif
