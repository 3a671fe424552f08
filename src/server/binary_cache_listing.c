/*
 * Listings of a binary cache (.ls): the names in a NAR, and where contents begin in it. Source of the
 * format: the Nix manual, "Binary Cache" (write-nar-listing).
 */
#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "nix/nixbase32.h"
#include "nix/nar_writer.h"
#include "server/binary_cache_private.h"

enum { LISTING_MAX = 64 << 20 };

struct listed_directory {
	struct directory *dir;
	size_t next; /* the entry that comes next */
};

struct lister {
	const struct services *services;
	const struct op *op;
	struct json json;
	struct buf nar;  /* the NAR's structure, cleared as it grows */
	uint64_t nar_at; /* where that begins in the NAR */
	struct listed_directory stack[NODE_DEPTH_MAX];
	unsigned depth;
};

static void list_file(struct lister *lister, const struct node *node)
{
	nar_file_begin(&lister->nar, node->executable, node->size);
	json_key(&lister->json, "type");
	json_text(&lister->json, "regular");
	json_key(&lister->json, "size");
	json_u64(&lister->json, node->size);
	if (node->executable) {
		json_key(&lister->json, "executable");
		json_bool(&lister->json, true);
	}
	json_key(&lister->json, "narOffset");
	json_u64(&lister->json, lister->nar_at + lister->nar.len);
	lister->nar_at += node->size;
	nar_file_end(&lister->nar, node->size);
	json_end_object(&lister->json);
}

/* A directory stays open: list_all ends it. */
static enum rc begin_node(struct lister *lister, const struct node *node, struct err *err)
{
	struct directory *dir;
	enum rc rc;

	json_begin_object(&lister->json);
	switch (node->kind) {
	case NODE_FILE:
		list_file(lister, node);
		return RC_OK;
	case NODE_SYMLINK:
		nar_symlink(&lister->nar, node->target);
		json_key(&lister->json, "type");
		json_text(&lister->json, "symlink");
		json_key(&lister->json, "target");
		json_view(&lister->json, node->target);
		json_end_object(&lister->json);
		return RC_OK;
	case NODE_DIRECTORY:
		break;
	}
	if (lister->depth == NODE_DEPTH_MAX)
		return err_set(err, RC_TOO_LARGE, "a tree of more than %d levels", NODE_DEPTH_MAX);
	rc = directory_service_get(lister->services->directories, lister->op, &node->digest, &dir,
				   err);
	if (rc != RC_OK)
		return rc == RC_NOT_FOUND ? RC_CORRUPT : rc;
	lister->stack[lister->depth++] = (struct listed_directory){ .dir = dir };
	nar_directory_begin(&lister->nar);
	json_key(&lister->json, "type");
	json_text(&lister->json, "directory");
	json_key(&lister->json, "entries");
	json_begin_object(&lister->json);
	return RC_OK;
}

static void end_directory(struct lister *lister)
{
	directory_unref(lister->stack[--lister->depth].dir);
	nar_directory_end(&lister->nar);
	json_end_object(&lister->json);
	json_end_object(&lister->json);
	if (lister->depth > 0)
		nar_entry_end(&lister->nar);
}

static enum rc list_all(struct lister *lister, const struct node *root, struct err *err)
{
	enum rc rc;

	nar_begin(&lister->nar);
	rc = begin_node(lister, root, err);
	while (rc == RC_OK && lister->depth > 0) {
		struct listed_directory *top = &lister->stack[lister->depth - 1];
		const struct node *node;

		lister->nar_at += lister->nar.len;
		buf_clear(&lister->nar);
		if (top->next == directory_count(top->dir)) {
			end_directory(lister);
			continue;
		}
		node = directory_at(top->dir, top->next++);
		nar_entry_begin(&lister->nar, node->name);
		json_key_view(&lister->json, node->name);
		rc = begin_node(lister, node, err);
		if (rc == RC_OK && node->kind != NODE_DIRECTORY)
			nar_entry_end(&lister->nar);
		if (rc == RC_OK && lister->json.out->len > LISTING_MAX)
			rc = err_set(err, RC_TOO_LARGE, "a listing of more than %d bytes",
				     LISTING_MAX);
	}
	return rc;
}

/* The JSON of a .ls file; appends. */
static enum rc list(const struct services *services, const struct op *op, const struct node *root,
		    struct buf *out, struct err *err)
{
	struct lister *lister = mem_zalloc(sizeof(*lister));
	enum rc rc;

	lister->services = services;
	lister->op = op;
	lister->json.out = out;
	json_begin_object(&lister->json);
	json_key(&lister->json, "version");
	json_u64(&lister->json, 1);
	json_key(&lister->json, "root");
	rc = list_all(lister, root, err);
	json_end_object(&lister->json);
	while (lister->depth > 0)
		directory_unref(lister->stack[--lister->depth].dir);
	buf_release(&lister->nar);
	free(lister);
	return rc;
}

/* ---- Requests ---- */

static enum http_next begin(struct binary_cache *cache, struct http_exchange *exchange,
			    const struct http_route *route)
{
	return cache_find(cache, cache_request_new(exchange, &listing_get_handler, route,
						   sizeof(struct cache_request)));
}

/* One that a client sent, of a path that it has not sent yet. */
static enum rc uploaded(struct binary_cache *cache, const struct op *op,
			struct cache_request *request, struct buf *out, struct err *err)
{
	char name[STORE_PATH_HASH_CHARS + 1];
	char *file AUTO_FREE = NULL;

	if (!cache->services->documents)
		return err_set(err, RC_NOT_FOUND, "no such path");
	nixbase32_encode(request->route.hash, STORE_PATH_HASH_SIZE, name);
	file = mem_printf("%s.ls", name);
	return document_store_get(cache->services->documents, op, view_of_string(file), out, err);
}

static enum rc make(struct binary_cache *cache, const struct op *op, struct cache_request *request,
		    struct MHD_Response **out, struct err *err)
{
	struct path_info info AUTO_PATH_INFO = { 0 };
	struct buf json = BUF_INIT;
	enum rc rc = path_info_service_get(cache_path_infos(cache, request), op,
					   request->route.hash, &info, err);

	if (rc == RC_OK)
		rc = list(cache->services, op, &info.node, &json, err);
	else if (rc == RC_NOT_FOUND && (request->far || !cache_has_far(cache)))
		rc = uploaded(cache, op, request, &json, err);
	if (rc == RC_OK)
		*out = MHD_create_response_from_buffer(json.len, json.ptr, MHD_RESPMEM_MUST_FREE);
	if (rc == RC_OK && !*out)
		rc = err_set(err, RC_NO_MEMORY, "no memory for a listing");
	if (rc != RC_OK)
		buf_release(&json);
	return rc;
}

static void work(struct binary_cache *cache, struct http_exchange *exchange, const struct op *op)
{
	struct cache_request *request = exchange->state;
	struct MHD_Response *response = NULL;

	request->rc = make(cache, op, request, &response, &request->err);
	if (!response)
		return;
	(void)MHD_add_response_header(response, "Content-Type", "application/json");
	(void)MHD_add_response_header(response, "Cache-Control", "max-age=3600");
	http_reply(exchange, MHD_HTTP_OK, response);
}

static enum http_next end(struct binary_cache *cache, struct http_exchange *exchange)
{
	struct cache_request *request = exchange->state;

	if (request->rc != RC_NOT_FOUND)
		return cache_reply_error(exchange, request->rc, &request->err);
	return cache_find_far(cache, request) ? HTTP_WORK_REMOTE
					      : cache_reply_absent(cache, exchange);
}

const struct cache_handler listing_get_handler = { .begin = begin, .work = work, .end = end };
