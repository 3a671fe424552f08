/*
 * Directories: immutable, shared by reference count, always valid and canonical.
 *
 * Source of the format: the castore protobuf that tvix-store and snix-store speak (message
 * Directory). Canonical: fields in number order, no unknown fields, defaults omitted, shortest
 * varints; names valid, sorted bytewise inside each of the three lists, unique across them. The
 * digest is the BLAKE3 of these bytes.
 *
 * The size field. castor writes two per child plus the children's own size fields; it also accepts
 * the older rule of one per child when it reads.
 */
#ifndef CASTOR_CASTORE_DIRECTORY_H
#define CASTOR_CASTORE_DIRECTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "castore/node.h"

/* No message above this is accepted, made or sent; 4 MiB is what peers take, see docs. */
enum { DIRECTORY_BYTES_MAX = 64 << 20 };

struct directory;

/* Checks everything above; RC_INVALID names field and entry. Copies the message. */
enum rc directory_decode(struct view message, struct directory **out, struct err *err) MUST_USE;
/* From nodes in any order, which it copies; RC_INVALID for a bad or a double name. */
enum rc directory_from_nodes(const struct node *nodes, size_t count, struct directory **out,
			     struct err *err) MUST_USE;

struct directory *directory_ref(struct directory *dir);
void directory_unref(struct directory *dir); /* NULL is fine */
void directory_cleanup(struct directory **dir);
#define AUTO_DIRECTORY CLEANUP(directory_cleanup)

/* All of these borrow from dir. */
struct view directory_encoded(const struct directory *dir);
const struct digest *directory_digest(const struct directory *dir);
size_t directory_count(const struct directory *dir);
/* Entry i in NAR order: the three lists merged, bytewise by name. */
const struct node *directory_at(const struct directory *dir, size_t i);
/* Binary search; NULL: no such name. */
const struct node *directory_find(const struct directory *dir, struct view name);
/* Memory that it holds, for budgets. */
size_t directory_cost(const struct directory *dir);

/* What a parent's size field says of this directory (two per child); saturates never: decoding and
 * making refuse a sum past 2^64-1. */
uint64_t directory_size(const struct directory *dir);
/* Is that number right by either rule? */
bool directory_size_matches(const struct directory *dir, uint64_t size);

#endif
