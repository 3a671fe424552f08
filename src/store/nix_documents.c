#include "store/nix_documents.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

enum { ANSWER_S = 15 };

struct nix_documents {
	struct document_store base;
	struct path_info_service *service;
	struct nix_cache *cache;
};

static struct nix_documents *documents_of(struct document_store *store)
{
	return CONTAINER_OF(store, struct nix_documents, base);
}

static void documents_free(struct document_store *store)
{
	path_info_service_unref(documents_of(store)->service);
	free(documents_of(store));
}

/* Names are paths below the cache; what is no letter or digit of them is encoded. */
static void print_url(const struct nix_cache *cache, struct view name, struct buf *out)
{
	buf_printf(out, "%s/", cache->base);
	for (size_t i = 0; i < name.len; i++) {
		uint8_t c = name.ptr[i];

		if (isalnum(c) || strchr("/-._~", c))
			buf_append_byte(out, c);
		else
			buf_printf(out, "%%%02X", c);
	}
}

static enum rc documents_get(struct document_store *store, const struct op *op, struct view name,
			     struct buf *out, struct err *err)
{
	struct nix_cache *cache = documents_of(store)->cache;
	struct buf url CLEANUP(buf_release) = BUF_INIT;
	int64_t until_ns = clock_monotonic_ns() + ANSWER_S * NS_PER_S;
	struct op soon = *op;

	if (soon.deadline_ns == 0 || soon.deadline_ns > until_ns)
		soon.deadline_ns = until_ns;
	print_url(cache, name, &url);
	enum rc rc = http_get(cache->client, &soon, buf_string(&url), DOCUMENT_MAX, out, err);
	return rc == RC_DEADLINE && op_check(op, NULL) == RC_OK
		       ? err_set(err, RC_UNAVAILABLE, "%s: no answer in %d seconds",
				 buf_string(&url), ANSWER_S)
		       : rc;
}

static enum rc documents_put(struct document_store *store, const struct op *op, struct view name,
			     struct view content, struct err *err)
{
	(void)op, (void)name, (void)content;
	return err_set(err, RC_NOT_PERMITTED, "%s is a binary cache, which is only read",
		       documents_of(store)->cache->base);
}

static const struct document_store_ops documents_ops = {
	.name = "nix+http", .free = documents_free, .get = documents_get, .put = documents_put
};

struct document_store *nix_documents_new(struct path_info_service *service, struct nix_cache *cache)
{
	struct nix_documents *documents = mem_zalloc(sizeof(*documents));

	document_store_init(&documents->base, &documents_ops);
	documents->service = path_info_service_ref(service);
	documents->cache = cache;
	return &documents->base;
}
