/*
 * A path info: what is known of one store path. Source of the format: message PathInfo of
 * tvix.store.v1 and snix.store.v1.
 */
#ifndef CASTOR_NIX_PATH_INFO_H
#define CASTOR_NIX_PATH_INFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "castore/node.h"
#include "nix/signature.h"
#include "nix/store_path.h"

enum { PATH_INFO_REFERENCES_MAX = 65536, PATH_INFO_SIGNATURES_MAX = 256 };

struct path_info {
	struct store_path path; /* the node's name, parsed */
	struct node node;       /* owned copy; its name is path's basename */
	uint64_t nar_size;
	struct nar_hash nar_sha256;
	struct store_path *references; /* owned */
	size_t reference_count;
	struct signature *signatures; /* owned */
	size_t signature_count;
	bool has_deriver;
	struct store_path deriver; /* name without ".drv" */
	bool has_ca;
	struct ca ca;
	/* Owned; NULL: none. A content address of a kind that castor cannot check, such as of git or BLAKE3, as it
	 * came: it vouches for nothing, and is handed on. Never beside `ca`. */
	char *other_ca;
};

/* The longest content address that is kept without being understood. */
enum { OTHER_CA_MAX = 255 };

/* Zeroed is a valid empty value. */
void path_info_release(struct path_info *info);
void path_info_copy(struct path_info *out, const struct path_info *in);
#define AUTO_PATH_INFO CLEANUP(path_info_release)

/* Canonical protobuf, appended. Keeps what it was given: the order of references included. */
void path_info_encode(const struct path_info *info, struct buf *out);
/* Validates all of protocol rules (names, lengths, equal numbers and order of references and
 * reference names); unknown fields are skipped. RC_INVALID names the field. Copies. */
enum rc path_info_decode(struct view message, struct path_info *out, struct err *err) MUST_USE;
/* The same checks on a value that a program filled in. */
enum rc path_info_check(const struct path_info *info, struct err *err) MUST_USE;
/* Of either kind, from text ("" for none), into an info that has none. */
enum rc path_info_parse_ca(struct path_info *info, struct view text, struct err *err) MUST_USE;
/* Appends it as text; false: there is none. */
bool path_info_print_ca(const struct path_info *info, struct buf *out);
bool path_info_refers_to_itself(const struct path_info *info);
/* That the content address, where there is one, leads to the store path, and where it is that of the
 * NAR, to its hash; not so that of a path that refers to itself (modulo_hash.h). Whether the content has the
 * digest that such a one or any other names, only the content can tell (nar_check_ca).
 */
enum rc path_info_check_ca(const struct path_info *info, struct err *err) MUST_USE;
/* What a signature of it covers; appends. */
void path_info_fingerprint(const struct path_info *info, struct buf *out);

/* Adds a signature, whose name it takes over, where it is not there and there is room for it. */
bool path_info_add_signature(struct path_info *info, struct signature *signature);
/* What is said of a path that `info` is known of already: its signatures are added, and nothing else
 * changes. *changed: one was new. RC_EXISTS, and nothing is added: it has another fingerprint, which the
 * signatures that are there do not cover. */
enum rc path_info_merge(struct path_info *info, const struct path_info *said, bool *changed,
			struct err *err) MUST_USE;

#endif
