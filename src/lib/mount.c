/* Mounts; or the sentence that there are none, in a build without fuse. */
#include "lib/lib.h"

#include <stdlib.h>

#include "base/mem.h"

#ifdef CASTOR_WITH_FUSE

#include "fs/fs.h"
#include "fs/roots.h"
#include "transfer/lookup.h"
#include "transport/mount.h"

struct castor_mount {
	struct fs *fs;
	struct mount *mount;
};

/* The roots that a caller listed. */
static enum rc make_list(struct castor_store *store, const struct castor_mount_options *options,
			 struct roots **out, struct err *err)
{
	size_t count = options->root_count, found = 0;
	struct node *nodes = mem_array(count, sizeof(*nodes));
	struct node *named = mem_array(count, sizeof(*named));
	enum rc rc = RC_OK;

	for (; rc == RC_OK && found < count; found++) {
		rc = lookup(&store->services, &op_none, options->roots[found].path, &nodes[found],
			    NULL, err);
		if (rc != RC_OK)
			break;
		named[found] = nodes[found];
		named[found].name = view_of_string(options->roots[found].name);
	}
	if (rc == RC_OK)
		rc = roots_list_new(named, count, out, err);
	for (size_t i = 0; i < found; i++)
		node_release(&nodes[i]);
	free(nodes);
	free(named);
	return rc;
}

static enum rc start(struct castor_store *store, const char *directory,
		     const struct castor_mount_options *options, struct castor_mount *mount,
		     struct err *err)
{
	struct fs_options fs_options = {
		.show_xattr = options->show_xattr != 0,
		.passthrough = options->passthrough != 0,
	};
	struct mount_options mount_options = {
		.allow_other = options->allow_other != 0,
		.threads = options->threads,
	};
	struct roots *roots = NULL;
	enum rc rc = RC_OK;

	if (options->root_count > 0)
		rc = make_list(store, options, &roots, err);
	else
		roots = roots_path_info_new(store->services.path_infos, options->list_root != 0);
	if (rc == RC_OK)
		rc = fs_new(store->services.blobs, store->services.directories, roots, &fs_options,
			    &mount->fs, err);
	if (rc != RC_OK)
		return rc;
	rc = mount_start(mount->fs, directory, &mount_options, &mount->mount, err);
	if (rc != RC_OK)
		fs_free(mount->fs);
	return rc;
}

enum castor_rc castor_mount_start(struct castor_store *store, const char *directory,
				  const struct castor_mount_options *options,
				  struct castor_mount **out, struct castor_error *error)
{
	static const struct castor_mount_options defaults = { 0 };
	struct castor_mount mount = { 0 };
	struct err err = ERR_INIT;
	enum rc rc;

	*out = NULL;
	rc = start(store, directory, options ? options : &defaults, &mount, &err);
	if (rc == RC_OK)
		*out = mem_dup(&mount, sizeof(mount));
	return lib_result(rc, &err, error);
}

int castor_mount_ended_fd(const struct castor_mount *mount)
{
	return mount_ended_fd(mount->mount);
}

void castor_mount_stop(struct castor_mount *mount)
{
	if (!mount)
		return;
	mount_stop(mount->mount);
	fs_free(mount->fs);
	free(mount);
}

#else

enum castor_rc castor_mount_start(struct castor_store *store, const char *directory,
				  const struct castor_mount_options *options,
				  struct castor_mount **out, struct castor_error *error)
{
	struct err err = ERR_INIT;

	(void)store;
	(void)options;
	*out = NULL;
	return lib_result(err_set(&err, RC_UNSUPPORTED,
				  "%s cannot be mounted: this castor was built without fuse",
				  directory),
			  &err, error);
}

int castor_mount_ended_fd(const struct castor_mount *mount)
{
	(void)mount;
	return -1;
}

void castor_mount_stop(struct castor_mount *mount)
{
	(void)mount;
}

#endif
