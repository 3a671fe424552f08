/*
 * The messages of the castore and store services as plain values. The bodies that have a canonical
 * form of their own (Directory, Node, PathInfo) are coded in castore/ and nix/; the rest goes
 * through protobuf-c here. Readers check lengths (RC_INVALID names the field), writers append.
 * Source: proto/castore.proto.in, proto/store.proto.in.
 */
#ifndef CASTOR_NET_MESSAGES_H
#define CASTOR_NET_MESSAGES_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "castore/blob_chunk.h"
#include "castore/digest.h"
#include "nix/store_path.h"

/* Peers decode at most this much a message: castor never sends more. */
enum { MESSAGE_SEND_MAX = 4 << 20, MESSAGE_RECEIVE_MAX = 16 << 20 };

void message_write_stat_request(const struct digest *digest, bool send_chunks, struct buf *out);
enum rc message_read_stat_request(struct view message, struct digest *digest, bool *send_chunks,
				  struct err *err) MUST_USE;
/* A list that would pass MESSAGE_SEND_MAX is left out: "exists, read it whole". */
void message_write_stat_response(const struct blob_chunk_list *list, struct buf *out);
/* The offsets are computed; RC_INVALID where the sizes overflow or a chunk is empty or over 4 GiB.
 */
enum rc message_read_stat_response(struct view message, struct blob_chunk_list *list,
				   struct err *err) MUST_USE;

/* ReadBlobRequest, PutBlobResponse and PutDirectoryResponse: one digest in field 1. */
void message_write_digest(const struct digest *digest, struct buf *out);
enum rc message_read_digest(struct view message, struct digest *out, struct err *err) MUST_USE;

/* BlobChunk, without copying the data: begin appends what stands before `len` bytes; read borrows.
 */
enum { MESSAGE_BLOB_CHUNK_HEAD = 8 }; /* as much stands before them, at most */
void message_begin_blob_chunk(size_t len, struct buf *out);
enum rc message_read_blob_chunk(struct view message, struct view *data, struct err *err) MUST_USE;
/* Of a message that lies in pieces, the first, with `rest` bytes in the others. True: it is a
 * BlobChunk of which all that comes after *data (a part of the first piece) is content. */
bool message_split_blob_chunk(struct view first, size_t rest, struct view *data) MUST_USE;

void message_write_get_directory(const struct digest *digest, bool recursive, struct buf *out);
enum rc message_read_get_directory(struct view message, struct digest *digest, bool *recursive,
				   struct err *err) MUST_USE;

void message_write_get_path_info(const uint8_t hash[STORE_PATH_HASH_SIZE], struct buf *out);
enum rc message_read_get_path_info(struct view message, uint8_t hash[STORE_PATH_HASH_SIZE],
				   struct err *err) MUST_USE;

void message_write_calculate_nar_response(uint64_t nar_size, const struct nar_hash *nar_sha256,
					  struct buf *out);
enum rc message_read_calculate_nar_response(struct view message, uint64_t *nar_size,
					    struct nar_hash *nar_sha256, struct err *err) MUST_USE;

#endif
