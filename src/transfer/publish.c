/* The last step of an import: the path info that makes a stored node a store path. */
#include "transfer/publish.h"

#include <string.h>

enum rc publish_recursive(const struct services *services, const struct op *op,
			  const struct node *node, const struct nar_facts *facts, const char *name,
			  struct path_info *out, struct err *err)
{
	return publish_with_references(services, op, node, facts, name, NULL, 0, out, err);
}

enum rc publish_with_references(const struct services *services, const struct op *op,
				const struct node *node, const struct nar_facts *facts,
				const char *name, struct store_path *references, size_t count,
				struct path_info *out, struct err *err)
{
	char basename[STORE_PATH_BASENAME_MAX + 1];
	struct path_info info = {
		.node = *node,
		.nar_size = facts->nar_size,
		.nar_sha256 = facts->nar_sha256,
		.references = references,
		.reference_count = count,
		.has_ca = true,
		.ca.kind = CA_NAR_SHA256,
	};
	enum rc rc;

	memset(out, 0, sizeof(*out));
	memcpy(info.ca.digest, facts->nar_sha256.bytes, sizeof(facts->nar_sha256.bytes));
	rc = store_path_from_ca(&info.ca, view_of_string(name), references, count, false,
				&info.path, err);
	if (rc != RC_OK)
		return rc;
	store_path_basename(&info.path, basename);
	info.node.name = view_of_string(basename);
	/* info borrows everything, so it is not released. */
	return path_info_service_put(services->path_infos, op, &info, out, err);
}
