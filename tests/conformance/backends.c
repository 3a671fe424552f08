/* Every backend, a line each. */
#include "conformance/conformance.h"

#include "base/mem.h"
#include "service/blob/files.h"
#include "service/blob/local.h"
#include "service/blob/memory.h"
#include "service/directory/local.h"
#include "service/directory/memory.h"
#include "service/path_info/local.h"
#include "service/path_info/memory.h"
#ifdef CASTOR_WITH_GRPC
#include "server/store_rpc.h"
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
	};
	return RC_OK;
}

static enum rc open_files(const char *dir, struct services *out, struct err *err)
{
	return blob_files_open(dir, &out->blobs, err);
}

#ifdef CASTOR_WITH_GRPC
/* A real server on a socket, over services in memory. */
static struct rpc_server *server;
static struct store_rpc served;

static enum rc open_grpc(const char *dir, struct services *out, struct err *err)
{
	char *socket AUTO_FREE = mem_printf("%s/socket", dir);
	char *address AUTO_FREE = mem_printf("grpc+unix://%s", socket);
	struct url url CLEANUP(url_release) = { 0 };
	struct rpc_channel *channel;
	enum rc rc;

	served = (struct store_rpc){ .allow_incomplete = true, .allow_list = true };
	rc = open_memory(dir, &served.services, err);
	if (rc == RC_OK)
		rc = rpc_server_new(&(struct rpc_server_options){ 0 }, &server, err);
	if (rc != RC_OK)
		return rc;
	store_rpc_register(server, &served);
	rc = rpc_server_listen(server, socket, NULL, err);
	if (rc != RC_OK)
		return rc;
	rpc_server_start(server);
	rc = url_parse(address, &url, err);
	if (rc == RC_OK)
		rc = rpc_channel_open(&url, &channel, err);
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
	rpc_server_stop(server, 0);
	rpc_server_free(server);
	services_release(&served.services);
}
#endif

static enum rc open_local_as(const char *dir, const struct local_policy *policy,
			     struct services *out, struct err *err)
{
	struct local_store *store;
	enum rc rc = local_store_open(dir, policy, &store, err);

	if (rc != RC_OK)
		return rc;
	*out = (struct services){
		.blobs = blob_local_new(store),
		.directories = directory_local_new(store),
		.path_infos = path_info_local_new(store),
		.nar_facts = nar_facts_local_new(store),
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
	{ "memory", .persistent = false, open_memory },
	{ "files", .persistent = true, open_files },
	{ "local", .persistent = true, open_local },
	{ "local, not compressed", .persistent = true, open_local_plain },
	{ "local, raw files", .persistent = true, open_local_raw },
#ifdef CASTOR_WITH_GRPC
	{ "grpc", .persistent = false, open_grpc, close_grpc },
#endif
};
const size_t backend_count = ARRAY_LEN(backends);
