/*
 * The path-info service: what a Nix store path stands for, by the 20 bytes of its hash part.
 * Same shape and rules as blob_service.h. An iterator holds a reference on its service.
 */
#ifndef CASTOR_SERVICE_PATH_INFO_PATH_INFO_SERVICE_H
#define CASTOR_SERVICE_PATH_INFO_PATH_INFO_SERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/op.h"
#include "base/refcount.h"
#include "nix/path_info.h"
#include "service/call.h"

struct path_info_service;
struct path_info_iter;

struct path_info_service_ops {
	const char *name;
	bool remote; /* calls may wait for another machine or process */
	/* `get` may bring the content of a path from afar. It takes as long as that takes: the backend
	 * itself sees to it that it goes on, or ends. */
	bool ingests;
	void (*free)(struct path_info_service *service);
	/* RC_NOT_FOUND. */
	enum rc (*get)(struct path_info_service *service, const struct op *op,
		       const uint8_t hash[STORE_PATH_HASH_SIZE], struct path_info *out,
		       struct err *err);
	/* Optional, of one that ingests: what `get` would say, without bringing the content: the node of
	 * *out is empty, unless the content is here anyway. */
	enum rc (*announce)(struct path_info_service *service, const struct op *op,
			    const uint8_t hash[STORE_PATH_HASH_SIZE], struct path_info *out,
			    struct err *err);
	/* Replaces an earlier one of the same hash; durable and visible when it returns. *stored
	 * (may be NULL) is what is kept now, perhaps with signatures added. */
	enum rc (*put)(struct path_info_service *service, const struct op *op,
		       const struct path_info *info, struct path_info *stored, struct err *err);
	/* In ascending order of hash, those above `after` (NULL: all). Entries put meanwhile may or
	 * may not come. RC_NOT_PERMITTED where listing is not allowed. */
	enum rc (*list)(struct path_info_service *service, const struct op *op,
			const uint8_t after[STORE_PATH_HASH_SIZE], struct path_info_iter **out,
			struct err *err);
	/* Optional, of one that asks another service first: which. Borrowed. */
	struct path_info_service *(*near)(struct path_info_service *service);
	/* Optional: a number that changes whenever the set of path infos did, in whatever process.
	 */
	enum rc (*generation)(struct path_info_service *service, const struct op *op, uint64_t *out,
			      struct err *err);
};

struct path_info_service {
	const struct path_info_service_ops *ops;
	struct refcount ref;
	struct service_counts counts;
};

void path_info_service_init(struct path_info_service *service,
			    const struct path_info_service_ops *ops);
struct path_info_service *path_info_service_ref(struct path_info_service *service);
void path_info_service_unref(struct path_info_service *service);
bool path_info_service_is_remote(const struct path_info_service *service);
bool path_info_service_ingests(const struct path_info_service *service);
/* The part of it that waits for no other machine and brings nothing from one, and is asked first: perhaps
 * the service itself. Borrowed; NULL: there is none. */
struct path_info_service *path_info_service_near(struct path_info_service *service);

enum rc path_info_service_get(struct path_info_service *service, const struct op *op,
			      const uint8_t hash[STORE_PATH_HASH_SIZE], struct path_info *out,
			      struct err *err) MUST_USE;
/* What is known of a path, for those who need no content: where `get` would have to bring it from afar, the
 * node of *out has no name and stands for nothing. */
enum rc path_info_service_announce(struct path_info_service *service, const struct op *op,
				   const uint8_t hash[STORE_PATH_HASH_SIZE], struct path_info *out,
				   struct err *err) MUST_USE;
/* Checks info with path_info_check first. */
enum rc path_info_service_put(struct path_info_service *service, const struct op *op,
			      const struct path_info *info, struct path_info *stored,
			      struct err *err) MUST_USE;
/* The same, but what is there already is not replaced: it is merged (path_info_merge), or RC_EXISTS.
 * No two calls for one path are under way at once in this process. */
enum rc path_info_service_add(struct path_info_service *service, const struct op *op,
			      const struct path_info *info, struct path_info *stored,
			      struct err *err) MUST_USE;
enum rc path_info_service_list(struct path_info_service *service, const struct op *op,
			       const uint8_t after[STORE_PATH_HASH_SIZE],
			       struct path_info_iter **out, struct err *err) MUST_USE;
/* RC_UNSUPPORTED where a backend cannot tell. */
enum rc path_info_service_generation(struct path_info_service *service, const struct op *op,
				     uint64_t *out, struct err *err) MUST_USE;

struct path_info_iter_ops {
	void (*free)(struct path_info_iter *iter);
	/* RC_OK with *out filled (to be released) and *end false, or with *end true. A failure that is
	 * that of some entries alone sets goes_on, and names their store paths, by the hash at least. */
	enum rc (*next)(struct path_info_iter *iter, const struct op *op, struct path_info *out,
			bool *end, struct err *err);
};
struct path_info_iter {
	const struct path_info_iter_ops *ops;
	/* The wrapper's. */
	struct path_info_service *service;
	bool ended, failed;
	/* The backend's, for the failure of a `next`; cleared by the wrapper. */
	bool goes_on;
};
enum rc path_info_iter_next(struct path_info_iter *iter, const struct op *op, struct path_info *out,
			    bool *end, struct err *err) MUST_USE;
/* After a failure: was it that of entries alone, and the next call goes on behind them? If not, the listing
 * is over. */
bool path_info_iter_goes_on(const struct path_info_iter *iter);
void path_info_iter_free(struct path_info_iter *iter); /* NULL is fine */

#endif
