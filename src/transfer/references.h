/* Which store paths a tree refers to. */
#ifndef CASTOR_TRANSFER_REFERENCES_H
#define CASTOR_TRANSFER_REFERENCES_H

#include <stddef.h>

#include "base/err.h"
#include "base/op.h"
#include "nix/reference_scan.h"
#include "service/path_info/path_info_service.h"

/*
 * Those of the candidates that the service knows as store paths; sorted, owned by the caller, NULL where
 * there are none. RC_TOO_LARGE where there are too many of either.
 */
enum rc references_find(struct path_info_service *service, const struct op *op,
			const struct reference_scan *scan, struct store_path **out, size_t *count,
			struct err *err) MUST_USE;

#endif
