/* From a node that is stored to a store path that is known. */
#ifndef CASTOR_TRANSFER_PUBLISH_H
#define CASTOR_TRANSFER_PUBLISH_H

#include "base/err.h"
#include "base/op.h"
#include "nix/path_info.h"
#include "service/services.h"

/* Makes the path info of a node with recursive SHA-256 content address, and puts it. The references, to
 * other paths, are sorted and borrowed. */
enum rc publish_with_references(const struct services *services, const struct op *op,
				const struct node *node, const struct nar_facts *facts,
				const char *name, struct store_path *references, size_t count,
				struct path_info *out, struct err *err) MUST_USE;
/* Without any. */
enum rc publish_recursive(const struct services *services, const struct op *op,
			  const struct node *node, const struct nar_facts *facts, const char *name,
			  struct path_info *out, struct err *err) MUST_USE;

#endif
