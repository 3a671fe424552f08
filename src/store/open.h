/*
 * From addresses to services: the one place that knows every scheme.
 *
 *	local:///dir[?compression=zstd:N|none][&raw-files=SIZE]   all three services
 *	memory://                                                all three services
 *	files:///dir                                             blobs only
 *	grpc+http://host, grpc+https://host, grpc+unix:///path   all three, of a daemon
 *	nix+http://host/path, nix+https://…                      path infos only (nix_http.h)
 */
#ifndef CASTOR_STORE_OPEN_H
#define CASTOR_STORE_OPEN_H

#include "base/err.h"
#include "service/services.h"

/* Each may be NULL: not said. */
struct store_addresses {
	const char *store; /* all three, where the ones below say nothing */
	const char *blobs;
	const char *directories;
	const char *path_infos;
};

/* Fills what is NULL from the environment: BLOB_SERVICE_ADDR, DIRECTORY_SERVICE_ADDR,
 * PATH_INFO_SERVICE_ADDR, then CASTOR_STORE, then the default store: local:///var/lib/castor where
 * this user can write there (or it exists and can be read), else local under $XDG_DATA_HOME/castor
 * (~/.local/share/castor). A flag goes before a variable of the same service; a service's own
 * before the store's. An empty variable says nothing. The default is written to default_store,
 * which the caller keeps as long as the addresses. */
enum { STORE_ADDRESS_MAX = 4096 };
enum rc store_addresses_complete(struct store_addresses *addresses,
				 char default_store[STORE_ADDRESS_MAX], struct err *err) MUST_USE;
/* The default alone, with another place than /var/lib/castor for tests. */
enum rc store_default_address(const char *system_dir, char out[STORE_ADDRESS_MAX],
			      struct err *err) MUST_USE;

/* Every service is opened; RC_INVALID for an unknown scheme lists the known ones. Where no
 * NAR-facts store comes with the path infos, one in memory is given. An address that says something
 * of a new store (compression, raw-files) refuses an existing one that is kept otherwise. The
 * caller releases with services_release. */
enum store_use {
	STORE_READ,  /* what is there; a local store that is not is RC_NOT_FOUND */
	STORE_WRITE, /* a local store is made where there is nothing */
};
enum rc store_open(const struct store_addresses *addresses, enum store_use use,
		   struct services *out, struct err *err) MUST_USE;

/*
 * Puts another store behind an open one: what services do not have is looked for there. address is of
 * any scheme; http:, https: and file: are short for nix+http: and so on. What comes from a binary cache
 * is kept in the services that are open, path by path; what comes from another store is read where it
 * is, and not kept. May be called again, for one behind that. On failure services are as they were.
 * required: where it cannot be asked, that is an error, not a miss.
 */
enum rc store_add_upstream(const char *address, bool required, struct services *services,
			   struct err *err) MUST_USE;

#endif
