/* From what a person types to a node. */
#ifndef CASTOR_TRANSFER_LOOKUP_H
#define CASTOR_TRANSFER_LOOKUP_H

#include "base/err.h"
#include "base/op.h"
#include "nix/path_info.h"
#include "service/services.h"

/*
 * text: a store path (absolute, or its basename, or its 32 hash characters) with or without a path
 * below it,
 * "/nix/store/…-name/bin/x"; or a NODE in text ("directory:…", "file:…", a bare hex digest) with or
 * without a path below it. *node is owned. *info is filled where a path info was behind it (else
 * zero); may be NULL. Symlinks on the way are not followed: RC_INVALID says where one points.
 */
enum rc lookup(const struct services *services, const struct op *op, const char *text,
	       struct node *node, struct path_info *info, struct err *err) MUST_USE;

#endif
