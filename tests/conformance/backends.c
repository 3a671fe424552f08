/* Every backend, a line each. */
#include "conformance/conformance.h"

#include "base/mem.h"
#include "service/blob/combined.h"
#include "service/blob/files.h"
#include "service/blob/local.h"
#include "service/blob/memory.h"
#include "service/directory/combined.h"
#include "service/directory/local.h"
#include "service/directory/memory.h"
#include "service/path_info/cache.h"
#include "service/path_info/local.h"
#include "service/path_info/memory.h"
#ifdef CASTOR_WITH_GRPC
#include "double/daemon.h"
#include "service/blob/grpc.h"
#include "service/directory/grpc.h"
#include "service/path_info/grpc.h"
#endif

static enum rc open_memory(const char *dir, struct services *out, struct err *err)
{
	(void)dir;
	(void)err;
	*out = (struct services){
		.blobs = blob_memory_new(),
		.directories = directory_memory_new(),
		.path_infos = path_info_memory_new(),
		.nar_facts = nar_facts_memory_new(),
		.scratch = scratch_memory_new(),
	};
	return RC_OK;
}

/* All that is put goes near, so that far stays empty. */
static enum rc open_combined(const char *dir, struct services *out, struct err *err)
{
	struct services near, far;
	enum rc rc = open_memory(dir, &near, err);

	if (rc == RC_OK)
		rc = open_memory(dir, &far, err);
	if (rc != RC_OK)
		return rc;
	*out = (struct services){
		.blobs = blob_combined_new(near.blobs, far.blobs),
		.directories = directory_combined_new(near.directories, far.directories),
		.path_infos = path_info_cache_new(
			near.path_infos, far.path_infos,
			&(struct path_info_cache_options){ .keep = true, .required = true }),
	};
	services_release(&near);
	services_release(&far);
	return RC_OK;
}

static enum rc open_files(const char *dir, struct services *out, struct err *err)
{
	return blob_files_open(dir, &out->blobs, err);
}

#ifdef CASTOR_WITH_GRPC
/* A real server on a socket, over services in memory. */
static struct daemon server;

static enum rc open_grpc(const char *dir, struct services *out, struct err *err)
{
	struct services memory;
	struct rpc_channel *channel;
	enum rc rc;

	rc = open_memory(dir, &memory, err);
	if (rc == RC_OK)
		rc = daemon_start(&server, dir, &memory, &(struct rpc_server_options){ 0 }, err);
	if (rc == RC_OK)
		rc = daemon_connect(&server, "", &channel, err);
	if (rc != RC_OK)
		return rc;
	/* Its NAR facts are computed by the server: nothing that a put could change. */
	out->blobs = blob_grpc_new(channel);
	out->directories = directory_grpc_new(channel);
	out->path_infos = path_info_grpc_new(channel);
	rpc_channel_unref(channel);
	return RC_OK;
}

static void close_grpc(void)
{
	daemon_stop(&server);
}
#endif

static enum rc open_local_as(const char *dir, const struct local_policy *policy,
			     struct services *out, struct err *err)
{
	struct local_store *store;
	enum rc rc = local_store_open(dir, LOCAL_STORE_WRITE, policy, &store, err);

	if (rc != RC_OK)
		return rc;
	*out = (struct services){
		.blobs = blob_local_new(store),
		.directories = directory_local_new(store),
		.path_infos = path_info_local_new(store),
		.nar_facts = nar_facts_local_new(store),
		.scratch = scratch_local_new(store),
	};
	local_store_unref(store);
	return RC_OK;
}

static enum rc open_local(const char *dir, struct services *out, struct err *err)
{
	return open_local_as(dir, NULL, out, err);
}

static enum rc open_local_plain(const char *dir, struct services *out, struct err *err)
{
	static const struct local_policy policy = { .compression = LOCAL_COMPRESSION_NONE };

	return open_local_as(dir, &policy, out, err);
}

static enum rc open_local_raw(const char *dir, struct services *out, struct err *err)
{
	static const struct local_policy policy = {
		.compression = LOCAL_COMPRESSION_ZSTD,
		.level = 1,
		.raw_files = 256 << 10,
	};

	return open_local_as(dir, &policy, out, err);
}

const struct backend backends[] = {
	{ "memory", open_memory },
	{ "combined", open_combined },
	{ "files", open_files, .persistent = true, .descriptors = true },
	{ "local", open_local, .persistent = true },
	{ "local, not compressed", open_local_plain, .persistent = true },
	{ "local, raw files", open_local_raw, .persistent = true, .descriptors = true },
#ifdef CASTOR_WITH_GRPC
	{ "grpc", open_grpc, close_grpc },
#endif
};
const size_t backend_count = ARRAY_LEN(backends);
