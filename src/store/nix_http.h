/*
 * Path infos from a Nix binary cache: the one backend that ingests. A path info that `get` answers with
 * has its content in the blob and directory services that it was opened over.
 *
 *	nix+http://[user:password@]host[:port][/path]?trusted-public-keys=name:base64[ name:base64…]
 *	nix+https://…	[&tls-ca=FILE][&netrc=FILE][&bearer-token-file=FILE][&castore=URL], a '+' in that
 *			URL as "%2B"
 *	nix+file:///path?trusted-public-keys=…
 *
 * Many threads that ask for one path share a download. What was ingested is remembered, as long as
 * memory for it is left; what the cache does not have, for a while. A cache is only read, and has no list.
 */
#ifndef CASTOR_STORE_NIX_HTTP_H
#define CASTOR_STORE_NIX_HTTP_H

#include "base/url.h"
#include "net/http_client.h"
#include "service/services.h"

struct nix_http_options {
	struct http_options http;
	int64_t miss_ns; /* how long a miss is remembered, at least; twice that at most */
	int64_t bad_ns; /* how long it is remembered that a path is not what the cache says; 0: not */
};
extern const struct nix_http_options nix_http_options_default;

/* Takes references on the services it needs of `near` (blobs, directories, NAR facts, the last of which
 * may be NULL) and of `far` (blobs and directories of the cache itself: where a NAR's URL names its
 * root node, only what is missing is asked for there; NULL: none are known). options NULL: the
 * default. */
enum rc path_info_nix_http_new(const struct url *url, const struct nix_http_options *options,
			       const struct services *near, const struct services *far,
			       struct path_info_service **out, struct err *err) MUST_USE;
/* What lies in such a cache beside its paths; a new reference. */
struct document_store *path_info_nix_http_documents(struct path_info_service *service);

#endif
