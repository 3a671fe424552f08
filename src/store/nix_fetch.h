/*
 * One store path from a Nix binary cache over HTTP into blobs and directories of ours. Source of the
 * formats: the Nix manual, "Binary Cache Object".
 */
#ifndef CASTOR_STORE_NIX_FETCH_H
#define CASTOR_STORE_NIX_FETCH_H

#include <pthread.h>
#include <stddef.h>

#include "base/err.h"
#include "base/op.h"
#include "net/http_client.h"
#include "nix/path_info.h"
#include "service/services.h"

/* How many NARs are read at once: each holds the memory of an import. */
enum { NIX_FETCHES_MAX = 4 };

struct nix_cache {
	/* Constant. */
	struct http_client *client;
	char *base; /* "http://host/sub/path" or "file:///path", without a slash at its end */
	struct public_key *keys;
	size_t key_count;     /* 0: signatures are not looked at */
	struct services near; /* where contents go; no path infos */
	struct services
		far; /* blobs and directories of the cache itself, if it has them; or empty */

	pthread_mutex_t lock;
	pthread_cond_t cond;
	unsigned fetching; /* under lock */
};

/*
 * Asks for the narinfo, checks its signature before anything else is asked for, and brings the content
 * unless it is here. The content's NAR has the hash and the size that were signed.
 *
 * RC_NOT_FOUND: the cache is well, and does not have it, or has the narinfo without its NAR. RC_NOT_PERMITTED: no trusted key signed it.
 * RC_CORRUPT: what the cache says, or what it sent, is wrong. Also what http_get and nar_import give.
 */
enum rc nix_fetch(struct nix_cache *cache, const struct op *op,
		  const uint8_t hash[STORE_PATH_HASH_SIZE], struct path_info *out,
		  struct err *err) MUST_USE;

/* The narinfo alone, with the same outcomes: the node of *out is empty. */
enum rc nix_announce(struct nix_cache *cache, const struct op *op,
		     const uint8_t hash[STORE_PATH_HASH_SIZE], struct path_info *out,
		     struct err *err) MUST_USE;

/* The root node that a NAR's URL names, where castor or one of its relatives wrote it: "nar/<node>/…",
 * "nar/snix-castore/<node>", "nar/tvix-castore/<node>", the node in base64. Owned, its name empty.
 * False: it names none. Nobody signed it. */
bool nix_url_node(const char *url, struct node *out);
/* The whole URL of what a cache names: relative to the base, or from its host on ("/nar/…"), or absolute, on any
 * host. RC_INVALID for ".." and the like, for other schemes than http and https, for http where the base is
 * https, and for all that leads out of a base that is a directory (file:). Appends. */
enum rc nix_url_resolve(const char *base, const char *url, struct buf *out,
			struct err *err) MUST_USE;

#endif
