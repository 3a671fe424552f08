/*
 * Writes NAR structure. The caller brings the content of files itself, between the two calls of a
 * file. Everything is appended to a buffer, which the caller sends on and clears as it likes.
 *
 *	nar_begin(out);
 *	nar_directory_begin(out);
 *	nar_entry_begin(out, name);  … one node …  nar_entry_end(out);
 *	nar_directory_end(out);
 *
 * Names in a directory must come in bytewise order. Source of the format: the Nix manual, "Nix
 *Archive".
 */
#ifndef CASTOR_NIX_NAR_WRITER_H
#define CASTOR_NIX_NAR_WRITER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

void nar_begin(struct buf *out);
void nar_directory_begin(struct buf *out);
void nar_entry_begin(struct buf *out, struct view name);
void nar_entry_end(struct buf *out);
void nar_directory_end(struct buf *out);
void nar_symlink(struct buf *out, struct view target);
/* Up to and including the length of the content. Then come `size` bytes, then nar_file_end. */
void nar_file_begin(struct buf *out, bool executable, uint64_t size);
void nar_file_end(struct buf *out, uint64_t size);

#endif
