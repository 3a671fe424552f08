/* What the files of libcastor share: between the public types and ours. */
#ifndef CASTOR_LIB_LIB_H
#define CASTOR_LIB_LIB_H

#include <castor/castor.h>

#include "base/err.h"
#include "base/op.h"
#include "castore/node.h"
#include "nix/path_info.h"
#include "service/services.h"

struct castor_store {
	struct services services;
};

struct castor_cancel {
	atomic_bool set;
};

/* Both directions; the numbers are equal (store.c asserts it). */
enum castor_rc lib_rc(enum rc rc);
enum rc lib_rc_from(enum castor_rc rc);
/* Gives the sentence to the caller; returns lib_rc(rc). */
enum castor_rc lib_result(enum rc rc, const struct err *err, struct castor_error *error);
struct op lib_op(const struct castor_op *op);

/* A node as the public sees it; it borrows the strings, which are NUL-terminated copies. */
struct lib_node {
	struct castor_node node; /* first: what the caller holds */
	char *name, *target;
};
void lib_node_init(struct lib_node *out, const struct node *node);
void lib_node_release(struct lib_node *node);

/* Takes info over. */
struct castor_path_info *lib_path_info_new(struct path_info *info);

#endif
