/* The bundle of services. */
#include "service/services.h"

void services_release(struct services *services)
{
	blob_service_unref(services->blobs);
	directory_service_unref(services->directories);
	path_info_service_unref(services->path_infos);
	nar_facts_store_unref(services->nar_facts);
	scratch_store_unref(services->scratch);
	*services = (struct services){ 0 };
}
