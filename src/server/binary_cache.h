/*
 * A Nix binary cache over a store: what the server says to a Nix client. Source of the format: the Nix
 * manual, "Binary Cache". NARs are sent by their layouts (nar_layout.h).
 */
#ifndef CASTOR_SERVER_BINARY_CACHE_H
#define CASTOR_SERVER_BINARY_CACHE_H

#include "server/http_server.h"
#include "service/services.h"
#include "transfer/nar_publish.h"
#include "transfer/nar_upload.h"

struct binary_cache_options {
	const struct services *services; /* borrowed: all of them, scratch may be NULL */
	unsigned priority;               /* the lower, the earlier a client asks */
	bool plain;                      /* offer NARs uncompressed */
	bool eager;     /* bring the NAR of an upstream's path when its narinfo is asked for */
	size_t layouts; /* bytes of memory for layouts of NARs; 0: 256 MiB */
	size_t decoded; /* the same for decoded parts of NARs; 0: none */
	bool uploads;   /* are taken; scratch must not be NULL then */
	const char *upload_token; /* from whoever has it; NULL: from anybody; copied */
	struct nar_upload_limits upload_limits;
	/* Of uploads; its key signs the narinfos that are served, too. */
	struct nar_publish_policy publish;
};

struct binary_cache;

struct binary_cache *binary_cache_new(const struct binary_cache_options *options);
/* After the server that it was given to. NULL is fine. */
void binary_cache_free(struct binary_cache *cache);
/* From here on uploads need this one. Any thread. */
void binary_cache_set_token(struct binary_cache *cache, const char *token);
void binary_cache_handlers(struct binary_cache *cache, struct http_handlers *out);

#endif
