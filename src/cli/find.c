/* What a person names on the command line. */
#include "cli/find.h"

#include "transfer/lookup.h"

/* Is there a directory of that digest? An outcome that is neither yes nor no is passed on. */
static enum rc find_directory(struct cli *cli, const struct digest *digest, bool *found,
			      struct err *err)
{
	return directory_service_has_many(cli->services.directories, &cli->op, digest, 1, found,
					  err);
}

enum rc find_node_or_blob(struct cli *cli, const char *text, struct node *node,
			  struct path_info *info, struct err *err)
{
	struct digest digest;
	uint64_t size;
	bool found;
	enum rc rc;

	if (!digest_parse_hex(view_of_string(text), &digest))
		return lookup(&cli->services, &cli->op, text, node, info, err);
	rc = find_directory(cli, &digest, &found, err);
	if (rc != RC_OK)
		return rc;
	if (found)
		return lookup(&cli->services, &cli->op, text, node, info, err);
	rc = blob_service_stat(cli->services.blobs, &cli->op, &digest, &size, NULL, err);
	if (rc == RC_NOT_FOUND)
		return err_set(err, rc, "neither a directory nor a blob has this digest: %s", text);
	if (rc != RC_OK)
		return rc;
	*node = (struct node){ .kind = NODE_FILE, .size = size, .digest = digest };
	if (info)
		*info = (struct path_info){ .nar_size = 0 };
	return RC_OK;
}

/* Without their names. */
static bool same_content(const struct node *a, const struct node *b)
{
	struct buf bytes_a CLEANUP(buf_release) = BUF_INIT;
	struct buf bytes_b CLEANUP(buf_release) = BUF_INIT;

	node_encode(a, false, &bytes_a);
	node_encode(b, false, &bytes_b);
	return view_equal(buf_view(&bytes_a), buf_view(&bytes_b));
}

bool find_is_store_path(const struct path_info *info, const struct node *node)
{
	return info->path.name[0] != '\0' && same_content(&info->node, node);
}
