/* The bundle of services. */
#include "service/services.h"

#include <string.h>

struct services services_ref(const struct services *services)
{
	struct services out = *services;

	if (out.blobs)
		blob_service_ref(out.blobs);
	if (out.directories)
		directory_service_ref(out.directories);
	if (out.path_infos)
		path_info_service_ref(out.path_infos);
	if (out.nar_facts)
		nar_facts_store_ref(out.nar_facts);
	if (out.scratch)
		scratch_store_ref(out.scratch);
	if (out.documents)
		document_store_ref(out.documents);
	if (out.kept.blobs)
		blob_service_ref(out.kept.blobs);
	if (out.kept.directories)
		directory_service_ref(out.kept.directories);
	if (out.kept.path_infos)
		path_info_service_ref(out.kept.path_infos);
	return out;
}

void services_release(struct services *services)
{
	blob_service_unref(services->blobs);
	directory_service_unref(services->directories);
	path_info_service_unref(services->path_infos);
	nar_facts_store_unref(services->nar_facts);
	scratch_store_unref(services->scratch);
	document_store_unref(services->documents);
	blob_service_unref(services->kept.blobs);
	directory_service_unref(services->kept.directories);
	path_info_service_unref(services->kept.path_infos);
	*services = (struct services){ 0 };
}

struct services services_kept(const struct services *services)
{
	struct services out = *services;

	if (out.kept.blobs)
		out.blobs = out.kept.blobs;
	if (out.kept.directories)
		out.directories = out.kept.directories;
	if (out.kept.path_infos)
		out.path_infos = out.kept.path_infos;
	memset(&out.kept, 0, sizeof(out.kept));
	return out;
}

struct shared_commit *services_shared_commit(const struct services *services)
{
	return services->local ? shared_commit_new(services->local) : NULL;
}
