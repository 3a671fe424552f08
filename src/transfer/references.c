#include "transfer/references.h"

#include <stdlib.h>

#include "base/mem.h"

static int compare(const void *a, const void *b)
{
	return store_path_compare(a, b);
}

enum rc references_find(struct path_info_service *service, const struct op *op,
			const struct reference_scan *scan, struct store_path **out, size_t *count,
			struct err *err)
{
	struct store_path *found = NULL;
	size_t room = 0, at = 0, number = 0;
	const uint8_t *hash;
	enum rc rc = RC_OK;

	*out = NULL;
	*count = 0;
	if (reference_scan_overflowed(scan))
		return err_set(err, RC_TOO_LARGE,
			       "more than %d places look like references to store paths",
			       REFERENCE_SCAN_MAX);
	while (rc == RC_OK && (hash = reference_scan_next(scan, &at))) {
		struct path_info info AUTO_PATH_INFO = { 0 };

		rc = path_info_service_get(service, op, hash, &info, err);
		if (rc == RC_NOT_FOUND) {
			rc = RC_OK;
			continue;
		}
		if (rc == RC_OK && number == PATH_INFO_REFERENCES_MAX)
			rc = err_set(err, RC_TOO_LARGE, "more than %d references",
				     PATH_INFO_REFERENCES_MAX);
		if (rc != RC_OK)
			break;
		found = mem_grow(found, number, &room, 16, sizeof(*found));
		found[number++] = info.path;
	}
	if (rc != RC_OK) {
		free(found);
		return rc;
	}
	if (number > 0)
		qsort(found, number, sizeof(*found), compare);
	*out = found;
	*count = number;
	return RC_OK;
}
