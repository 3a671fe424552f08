/* Path infos behind a daemon. */
#include "service/path_info/grpc.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "net/messages.h"

/* The protocol's List has no order and no start: a listing is taken whole before it is handed out.
 */
enum { LISTING_MAX = 4 << 20 };

static const char get_method[] = "store.v1.PathInfoService/Get";
static const char put_method[] = "store.v1.PathInfoService/Put";
static const char list_method[] = "store.v1.PathInfoService/List";
static const char calculate_method[] = "store.v1.PathInfoService/CalculateNAR";

struct path_info_grpc {
	struct path_info_service service;
	struct rpc_channel *channel;
};

static struct path_info_grpc *grpc_of(struct path_info_service *service)
{
	return CONTAINER_OF(service, struct path_info_grpc, service);
}

static void grpc_free(struct path_info_service *service)
{
	struct path_info_grpc *grpc = grpc_of(service);

	rpc_channel_unref(grpc->channel);
	free(grpc);
}

static enum rc find_family(struct rpc_channel *channel, const struct op *op, struct err *err)
{
	static const uint8_t nobody[STORE_PATH_HASH_SIZE];
	struct buf probe CLEANUP(buf_release) = BUF_INIT;

	if (rpc_channel_family(channel) != RPC_FAMILY_UNKNOWN)
		return RC_OK;
	message_write_get_path_info(nobody, &probe);
	return rpc_family_find(channel, op, get_method, buf_view(&probe), err);
}

static enum rc grpc_get(struct path_info_service *service, const struct op *op,
			const uint8_t hash[STORE_PATH_HASH_SIZE], struct path_info *out,
			struct err *err)
{
	struct path_info_grpc *grpc = grpc_of(service);
	struct buf request CLEANUP(buf_release) = BUF_INIT;
	struct buf reply CLEANUP(buf_release) = BUF_INIT;
	enum rc rc;

	rc = find_family(grpc->channel, op, err);
	if (rc != RC_OK)
		return rc;
	message_write_get_path_info(hash, &request);
	rc = rpc_unary(grpc->channel, op, get_method, buf_view(&request), true, &reply, err);
	if (rc == RC_OK)
		rc = path_info_decode(buf_view(&reply), out, err);
	if (rc == RC_OK && memcmp(out->path.hash, hash, STORE_PATH_HASH_SIZE) != 0) {
		path_info_release(out);
		*out = (struct path_info){ 0 };
		rc = err_set(err, RC_CORRUPT, "%s answered with another path",
			     rpc_channel_address(grpc->channel));
	}
	return rc;
}

static enum rc grpc_put(struct path_info_service *service, const struct op *op,
			const struct path_info *info, struct path_info *stored, struct err *err)
{
	struct path_info_grpc *grpc = grpc_of(service);
	struct path_info kept AUTO_PATH_INFO = { 0 };
	struct buf request CLEANUP(buf_release) = BUF_INIT;
	struct buf reply CLEANUP(buf_release) = BUF_INIT;
	enum rc rc;

	rc = find_family(grpc->channel, op, err);
	if (rc != RC_OK)
		return rc;
	path_info_encode(info, &request);
	rc = rpc_unary(grpc->channel, op, put_method, buf_view(&request), true, &reply, err);
	if (rc == RC_OK)
		rc = path_info_decode(buf_view(&reply), &kept, err);
	if (rc == RC_OK && !node_equal(&kept.node, &info->node))
		rc = err_set(err, RC_CORRUPT, "%s stored another node",
			     rpc_channel_address(grpc->channel));
	if (rc == RC_OK && stored) {
		*stored = kept;
		kept = (struct path_info){ 0 };
	}
	return rc;
}

/* ---- List: a sorted snapshot ---- */

struct snapshot {
	struct path_info_iter iter;
	struct path_info *infos;
	size_t count, at, room;
	/* Of entries that did not come: told behind those that did. */
	enum rc rc;
	struct err err;
};

static void snapshot_free(struct path_info_iter *iter)
{
	struct snapshot *snapshot = CONTAINER_OF(iter, struct snapshot, iter);

	for (size_t i = 0; i < snapshot->count; i++)
		path_info_release(&snapshot->infos[i]);
	free(snapshot->infos);
	free(snapshot);
}

static enum rc snapshot_next(struct path_info_iter *iter, const struct op *op,
			     struct path_info *out, bool *end, struct err *err)
{
	struct snapshot *snapshot = CONTAINER_OF(iter, struct snapshot, iter);

	enum rc rc = RC_OK;

	(void)op;
	*end = snapshot->at == snapshot->count;
	if (!*end) {
		*out = snapshot->infos[snapshot->at];
		snapshot->infos[snapshot->at++] = (struct path_info){ 0 };
	} else if (snapshot->rc != RC_OK) {
		rc = err_set(err, snapshot->rc, "%s", snapshot->err.message);
		snapshot->rc = RC_OK;
		iter->goes_on = true;
	}
	return rc;
}

static const struct path_info_iter_ops snapshot_ops = { .free = snapshot_free,
							.next = snapshot_next };

static enum rc snapshot_add(struct snapshot *snapshot, struct view message, const uint8_t *after,
			    struct err *err)
{
	struct path_info info = { 0 };
	enum rc rc = path_info_decode(message, &info, err);

	/* What this one is of cannot be told; the others are as good as before. */
	if (rc != RC_OK && snapshot->rc == RC_OK) {
		snapshot->rc = err_context(err, RC_CORRUPT, "a path info that was listed");
		snapshot->err = *err;
	}
	if (rc != RC_OK)
		return RC_OK;
	if (after && memcmp(info.path.hash, after, STORE_PATH_HASH_SIZE) <= 0) {
		path_info_release(&info);
		return RC_OK;
	}
	if (snapshot->count == LISTING_MAX) {
		path_info_release(&info);
		return err_set(err, RC_TOO_LARGE, "the listing has more than %d paths",
			       LISTING_MAX);
	}
	snapshot->infos =
		mem_grow(snapshot->infos, snapshot->count, &snapshot->room, 64, sizeof(info));
	snapshot->infos[snapshot->count++] = info;
	return RC_OK;
}

static int compare_infos(const void *a, const void *b)
{
	const struct path_info *left = a;
	const struct path_info *right = b;

	return memcmp(left->path.hash, right->path.hash, STORE_PATH_HASH_SIZE);
}

static enum rc take_listing(struct rpc_stream *stream, const struct op *op,
			    struct snapshot *snapshot, const uint8_t *after, struct err *err)
{
	struct buf message CLEANUP(buf_release) = BUF_INIT;
	bool end = false;
	/* ListPathInfoRequest has no fields. */
	enum rc rc = rpc_stream_write(stream, op, &message, err);

	if (rc == RC_OK)
		rc = rpc_stream_close_send(stream, op, err);
	while (rc == RC_OK) {
		rc = rpc_stream_read(stream, op, &message, &end, err);
		if (rc != RC_OK || end)
			break;
		rc = snapshot_add(snapshot, buf_view(&message), after, err);
	}
	/* DATA_LOSS: so a server ends a listing in which it could not read everything. */
	if (rc != RC_IO || snapshot->count == 0)
		return rc;
	snapshot->rc = rc;
	snapshot->err = *err;
	return RC_OK;
}

static enum rc grpc_list(struct path_info_service *service, const struct op *op,
			 const uint8_t after[STORE_PATH_HASH_SIZE], struct path_info_iter **out,
			 struct err *err)
{
	struct path_info_grpc *grpc = grpc_of(service);
	struct snapshot *snapshot;
	struct rpc_stream *stream;
	enum rc rc;

	rc = find_family(grpc->channel, op, err);
	if (rc != RC_OK)
		return rc;
	snapshot = mem_zalloc(sizeof(*snapshot));
	snapshot->iter.ops = &snapshot_ops;
	stream = rpc_stream_open(grpc->channel, op, list_method);
	rc = take_listing(stream, op, snapshot, after, err);
	rpc_stream_free(stream);
	if (rc != RC_OK) {
		snapshot_free(&snapshot->iter);
		return rc;
	}
	if (snapshot->count > 0) /* qsort takes no NULL, not even for nothing */
		qsort(snapshot->infos, snapshot->count, sizeof(*snapshot->infos), compare_infos);
	*out = &snapshot->iter;
	return RC_OK;
}

static const struct path_info_service_ops grpc_ops = {
	.name = "grpc",
	.remote = true,
	.free = grpc_free,
	.get = grpc_get,
	.put = grpc_put,
	.list = grpc_list,
};

struct path_info_service *path_info_grpc_new(struct rpc_channel *channel)
{
	struct path_info_grpc *grpc = mem_zalloc(sizeof(*grpc));

	path_info_service_init(&grpc->service, &grpc_ops);
	grpc->channel = rpc_channel_ref(channel);
	return &grpc->service;
}

/* ---- CalculateNAR ---- */

struct nar_facts_grpc {
	struct nar_facts_store store;
	struct rpc_channel *channel;
};

static void facts_free(struct nar_facts_store *store)
{
	struct nar_facts_grpc *grpc = CONTAINER_OF(store, struct nar_facts_grpc, store);

	rpc_channel_unref(grpc->channel);
	free(grpc);
}

/* Is the node's content there, as far as its own digest tells? True also where nobody can say. */
static bool content_is_there(struct rpc_channel *channel, const struct op *op,
			     const struct node *node)
{
	struct buf request CLEANUP(buf_release) = BUF_INIT;
	struct buf reply CLEANUP(buf_release) = BUF_INIT;
	const char *method = "castore.v1.BlobService/Stat";

	if (node->kind == NODE_SYMLINK)
		return true;
	if (node->kind == NODE_DIRECTORY) {
		method = "castore.v1.DirectoryService/Get";
		message_write_get_directory(&node->digest, false, &request);
	} else {
		message_write_stat_request(&node->digest, false, &request);
	}
	return rpc_unary(channel, op, method, buf_view(&request), true, &reply, NULL) !=
	       RC_NOT_FOUND;
}

static enum rc facts_get(struct nar_facts_store *store, const struct op *op,
			 const struct node *node, struct nar_facts *out, struct err *err)
{
	struct nar_facts_grpc *grpc = CONTAINER_OF(store, struct nar_facts_grpc, store);
	struct buf request CLEANUP(buf_release) = BUF_INIT;
	struct buf reply CLEANUP(buf_release) = BUF_INIT;
	enum rc rc;

	rc = find_family(grpc->channel, op, err);
	if (rc != RC_OK)
		return rc;
	/* Both families refuse a node with a name. */
	node_encode(node, false, &request);
	rc = rpc_unary(grpc->channel, op, calculate_method, buf_view(&request), true, &reply, err);
	/* Where the node is not there at all, servers say DATA_LOSS or INTERNAL, as they do of
	 * damage. */
	if (rc == RC_IO && !content_is_there(grpc->channel, op, node))
		return RC_NOT_FOUND;
	return rc == RC_OK ? message_read_calculate_nar_response(buf_view(&reply), &out->nar_size,
								 &out->nar_sha256, err)
			   : rc;
}

static enum rc facts_put(struct nar_facts_store *store, const struct op *op,
			 const struct node *node, const struct nar_facts *facts, struct err *err)
{
	(void)store;
	(void)op;
	(void)node;
	(void)facts;
	(void)err;
	return RC_OK;
}

static const struct nar_facts_store_ops facts_ops = {
	.name = "grpc",
	.free = facts_free,
	.get = facts_get,
	.put = facts_put,
};

struct nar_facts_store *nar_facts_grpc_new(struct rpc_channel *channel)
{
	struct nar_facts_grpc *grpc = mem_zalloc(sizeof(*grpc));

	nar_facts_store_init(&grpc->store, &facts_ops);
	grpc->channel = rpc_channel_ref(channel);
	return &grpc->store;
}
