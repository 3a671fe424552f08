/* Which address is meant where none was said: the environment, then the default store. */
#include "store/open.h"

#include <ctype.h>
#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

#define SYSTEM_DIR "/var/lib/castor"

/* NULL where the variable is not set, or empty. */
static const char *variable(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? value : NULL;
}

static bool can_use(const char *dir)
{
	char parent[STORE_ADDRESS_MAX];
	char *slash;

	if (eaccess(dir, R_OK | X_OK) == 0)
		return true;
	if (errno != ENOENT || strlen(dir) >= sizeof(parent))
		return false;
	strcpy(parent, dir);
	slash = strrchr(parent, '/');
	if (!slash)
		return false;
	*slash = '\0';
	return eaccess(slash == parent ? "/" : parent, W_OK | X_OK) == 0;
}

/* "local://" and the path, with what an address cannot hold encoded. */
static enum rc print_address(const char *dir, char out[STORE_ADDRESS_MAX], struct err *err)
{
	struct buf address CLEANUP(buf_release) = BUF_INIT;

	buf_append_string(&address, "local://");
	for (const char *c = dir; *c; c++) {
		if (isalnum((unsigned char)*c) || strchr("/-._~", *c))
			buf_append_byte(&address, (uint8_t)*c);
		else
			buf_printf(&address, "%%%02X", (unsigned char)*c);
	}
	if (address.len >= STORE_ADDRESS_MAX)
		return err_set(err, RC_INVALID, "the path of the default store is too long: %s",
			       dir);
	memcpy(out, buf_string(&address), address.len + 1);
	return RC_OK;
}

/* The home directory of this user; owned by the caller. NULL: there is none. */
static char *home_dir(void)
{
	const char *home = variable("HOME");
	struct passwd entry, *found = NULL;
	char buffer[4096];

	if (home && home[0] == '/')
		return mem_strdup(home);
	if (getpwuid_r(geteuid(), &entry, buffer, sizeof(buffer), &found) || !found ||
	    entry.pw_dir[0] != '/')
		return NULL;
	return mem_strdup(entry.pw_dir);
}

enum rc store_default_address(const char *system_dir, char out[STORE_ADDRESS_MAX], struct err *err)
{
	const char *data = variable("XDG_DATA_HOME");
	char *home AUTO_FREE = NULL;
	char *dir AUTO_FREE = NULL;

	out[0] = '\0';
	if (can_use(system_dir))
		return print_address(system_dir, out, err);
	if (data && data[0] == '/') { /* a relative one is to be ignored, says its specification */
		dir = mem_printf("%s/castor", data);
		return print_address(dir, out, err);
	}
	home = home_dir();
	if (!home)
		return err_set(err, RC_INVALID,
			       "there is no default store: %s cannot be used, and this user has no "
			       "home directory; name one by --store or CASTOR_STORE",
			       system_dir);
	dir = mem_printf("%s/.local/share/castor", home);
	return print_address(dir, out, err);
}

enum rc store_addresses_complete(struct store_addresses *addresses,
				 char default_store[STORE_ADDRESS_MAX], struct err *err)
{
	default_store[0] = '\0';
	if (!addresses->blobs)
		addresses->blobs = variable("BLOB_SERVICE_ADDR");
	if (!addresses->directories)
		addresses->directories = variable("DIRECTORY_SERVICE_ADDR");
	if (!addresses->path_infos)
		addresses->path_infos = variable("PATH_INFO_SERVICE_ADDR");
	if (!addresses->store)
		addresses->store = variable("CASTOR_STORE");
	if (!addresses->store &&
	    !(addresses->blobs && addresses->directories && addresses->path_infos)) {
		enum rc rc = store_default_address(SYSTEM_DIR, default_store, err);

		if (rc != RC_OK)
			return rc;
		addresses->store = default_store;
	}
	if (!addresses->blobs)
		addresses->blobs = addresses->store;
	if (!addresses->directories)
		addresses->directories = addresses->store;
	if (!addresses->path_infos)
		addresses->path_infos = addresses->store;
	return RC_OK;
}
