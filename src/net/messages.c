#include "net/messages.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/wire.h"
#include <snix.castore.v1.pb-c.h>
#include <snix.store.v1.pb-c.h>

/* The two families' messages are the same bytes: the code is made from one of them. */
typedef Snix__Castore__V1__StatBlobRequest StatRequest;
typedef Snix__Castore__V1__StatBlobResponse StatResponse;
typedef Snix__Castore__V1__StatBlobResponse__ChunkMeta ChunkMeta;
typedef Snix__Castore__V1__ReadBlobRequest OneDigest;
typedef Snix__Castore__V1__GetDirectoryRequest GetDirectory;
typedef Snix__Store__V1__GetPathInfoRequest GetPathInfo;
typedef Snix__Store__V1__CalculateNARResponse CalculateNar;

/* Packs any message at the end of a buffer. */
static void pack(const ProtobufCMessage *message, struct buf *out)
{
	size_t size = protobuf_c_message_get_packed_size(message);

	buf_reserve(out, size);
	out->len += protobuf_c_message_pack(message, out->ptr + out->len);
}

/* NULL, with the error set, where the bytes are no such message. */
static void *unpack(const ProtobufCMessageDescriptor *descriptor, struct view message,
		    struct err *err)
{
	void *unpacked = protobuf_c_message_unpack(descriptor, NULL, message.len, message.ptr);

	if (!unpacked)
		(void)err_set(err, RC_INVALID, "malformed %s message", descriptor->short_name);
	return unpacked;
}

static void message_cleanup(void *pointer)
{
	ProtobufCMessage *message = *(ProtobufCMessage **)pointer;

	if (message)
		protobuf_c_message_free_unpacked(message, NULL);
}
#define AUTO_MESSAGE CLEANUP(message_cleanup)

static ProtobufCBinaryData bytes_of(const void *bytes, size_t len)
{
	/* The library writes no const, and changes nothing. */
	return (ProtobufCBinaryData){ .len = len, .data = (uint8_t *)(uintptr_t)bytes };
}

static enum rc take_bytes(const char *field, ProtobufCBinaryData data, void *out, size_t len,
			  struct err *err)
{
	if (data.len != len)
		return err_set(err, RC_INVALID, "%s: %zu bytes instead of %zu", field, data.len,
			       len);
	memcpy(out, data.data, len);
	return RC_OK;
}

void message_write_stat_request(const struct digest *digest, bool send_chunks, struct buf *out)
{
	StatRequest request = SNIX__CASTORE__V1__STAT_BLOB_REQUEST__INIT;

	request.digest = bytes_of(digest->bytes, DIGEST_SIZE);
	request.send_chunks = send_chunks;
	pack(&request.base, out);
}

enum rc message_read_stat_request(struct view message, struct digest *digest, bool *send_chunks,
				  struct err *err)
{
	StatRequest *request AUTO_MESSAGE =
		unpack(&snix__castore__v1__stat_blob_request__descriptor, message, err);

	if (!request)
		return RC_INVALID;
	*send_chunks = request->send_chunks != 0;
	return take_bytes("digest", request->digest, digest->bytes, DIGEST_SIZE, err);
}

void message_write_stat_response(const struct blob_chunk_list *list, struct buf *out)
{
	StatResponse response = SNIX__CASTORE__V1__STAT_BLOB_RESPONSE__INIT;
	ChunkMeta *metas AUTO_FREE = mem_array(list->count ? list->count : 1, sizeof(*metas));
	ChunkMeta **pointers AUTO_FREE =
		mem_array(list->count ? list->count : 1, sizeof(*pointers));

	for (size_t i = 0; i < list->count; i++) {
		snix__castore__v1__stat_blob_response__chunk_meta__init(&metas[i]);
		metas[i].digest = bytes_of(list->chunks[i].digest.bytes, DIGEST_SIZE);
		metas[i].size = list->chunks[i].size;
		pointers[i] = &metas[i];
	}
	response.chunks = pointers;
	response.n_chunks = list->count;
	if (protobuf_c_message_get_packed_size(&response.base) > MESSAGE_SEND_MAX)
		response.n_chunks = 0;
	pack(&response.base, out);
}

enum rc message_read_stat_response(struct view message, struct blob_chunk_list *list,
				   struct err *err)
{
	StatResponse *response AUTO_MESSAGE = NULL;
	uint64_t offset = 0;

	*list = (struct blob_chunk_list){ 0 };
	if (message.len > MESSAGE_SEND_MAX)
		return err_set(err, RC_TOO_LARGE, "a chunk list of %zu bytes", message.len);
	response = unpack(&snix__castore__v1__stat_blob_response__descriptor, message, err);
	if (!response)
		return RC_INVALID;
	list->chunks =
		mem_array(response->n_chunks ? response->n_chunks : 1, sizeof(*list->chunks));
	for (size_t i = 0; i < response->n_chunks; i++) {
		const ChunkMeta *meta = response->chunks[i];
		struct blob_chunk *chunk = &list->chunks[i];

		if (meta->digest.len != DIGEST_SIZE || meta->size == 0 || meta->size > UINT32_MAX) {
			blob_chunk_list_release(list);
			return err_set(err, RC_INVALID,
				       "chunk %zu of the list has a bad digest or size", i);
		}
		memcpy(chunk->digest.bytes, meta->digest.data, DIGEST_SIZE);
		chunk->has_digest = true;
		chunk->size = (uint32_t)meta->size;
		chunk->offset = offset;
		offset += meta->size;
	}
	list->count = response->n_chunks;
	return RC_OK;
}

void message_write_digest(const struct digest *digest, struct buf *out)
{
	OneDigest message = SNIX__CASTORE__V1__READ_BLOB_REQUEST__INIT;

	message.digest = bytes_of(digest->bytes, DIGEST_SIZE);
	pack(&message.base, out);
}

enum rc message_read_digest(struct view message, struct digest *out, struct err *err)
{
	OneDigest *unpacked AUTO_MESSAGE =
		unpack(&snix__castore__v1__read_blob_request__descriptor, message, err);

	if (!unpacked)
		return RC_INVALID;
	return take_bytes("digest", unpacked->digest, out->bytes, DIGEST_SIZE, err);
}

/* BlobChunk by hand: protobuf-c would copy every byte of every blob once more. */
void message_begin_blob_chunk(size_t len, struct buf *out)
{
	if (len > 0)
		wire_append_header(out, 1, len);
}

enum rc message_read_blob_chunk(struct view message, struct view *data, struct err *err)
{
	struct cursor cursor = cursor_of(message);
	struct wire_field field;

	*data = (struct view){ 0 };
	while (wire_next(&cursor, &field)) {
		if (field.number == 1 && field.type == WIRE_BYTES)
			*data = field.bytes;
	}
	if (cursor.failed)
		return err_set(err, RC_INVALID, "malformed BlobChunk message at byte %zu",
			       cursor.at);
	return RC_OK;
}

bool message_split_blob_chunk(struct view first, size_t rest, struct view *data)
{
	enum { DATA_TAG = 1 << 3 | WIRE_BYTES };
	uint64_t len = 0;
	size_t at = 1;

	*data = (struct view){ 0 };
	if (first.len == 0 || first.ptr[0] != DATA_TAG)
		return false;
	/* As many bytes of a length as a message can have. */
	for (unsigned shift = 0; shift < 35; shift += 7) {
		if (at == first.len)
			return false;
		len |= (uint64_t)(first.ptr[at] & 0x7f) << shift;
		if (!(first.ptr[at++] & 0x80)) {
			*data = view_slice(first, at, first.len - at);
			return len == data->len + rest;
		}
	}
	return false;
}

void message_write_get_directory(const struct digest *digest, bool recursive, struct buf *out)
{
	GetDirectory request;

	snix__castore__v1__get_directory_request__init(&request);
	request.by_what_case = SNIX__CASTORE__V1__GET_DIRECTORY_REQUEST__BY_WHAT_DIGEST;
	request.digest = bytes_of(digest->bytes, DIGEST_SIZE);
	request.recursive = recursive;
	pack(&request.base, out);
}

enum rc message_read_get_directory(struct view message, struct digest *digest, bool *recursive,
				   struct err *err)
{
	GetDirectory *request AUTO_MESSAGE =
		unpack(&snix__castore__v1__get_directory_request__descriptor, message, err);

	if (!request)
		return RC_INVALID;
	if (request->by_what_case != SNIX__CASTORE__V1__GET_DIRECTORY_REQUEST__BY_WHAT_DIGEST)
		return err_set(err, RC_INVALID, "by_what: no digest");
	*recursive = request->recursive != 0;
	return take_bytes("digest", request->digest, digest->bytes, DIGEST_SIZE, err);
}

void message_write_get_path_info(const uint8_t hash[STORE_PATH_HASH_SIZE], struct buf *out)
{
	GetPathInfo request;

	snix__store__v1__get_path_info_request__init(&request);
	request.by_what_case = SNIX__STORE__V1__GET_PATH_INFO_REQUEST__BY_WHAT_BY_OUTPUT_HASH;
	request.by_output_hash = bytes_of(hash, STORE_PATH_HASH_SIZE);
	pack(&request.base, out);
}

enum rc message_read_get_path_info(struct view message, uint8_t hash[STORE_PATH_HASH_SIZE],
				   struct err *err)
{
	GetPathInfo *request AUTO_MESSAGE =
		unpack(&snix__store__v1__get_path_info_request__descriptor, message, err);

	if (!request)
		return RC_INVALID;
	if (request->by_what_case != SNIX__STORE__V1__GET_PATH_INFO_REQUEST__BY_WHAT_BY_OUTPUT_HASH)
		return err_set(err, RC_INVALID, "by_what: no output hash");
	return take_bytes("by_output_hash", request->by_output_hash, hash, STORE_PATH_HASH_SIZE,
			  err);
}

void message_write_calculate_nar_response(uint64_t nar_size, const struct nar_hash *nar_sha256,
					  struct buf *out)
{
	CalculateNar response = SNIX__STORE__V1__CALCULATE_NARRESPONSE__INIT;

	response.nar_size = nar_size;
	response.nar_sha256 = bytes_of(nar_sha256->bytes, sizeof(nar_sha256->bytes));
	pack(&response.base, out);
}

enum rc message_read_calculate_nar_response(struct view message, uint64_t *nar_size,
					    struct nar_hash *nar_sha256, struct err *err)
{
	CalculateNar *response AUTO_MESSAGE =
		unpack(&snix__store__v1__calculate_narresponse__descriptor, message, err);

	if (!response)
		return RC_INVALID;
	*nar_size = response->nar_size;
	return take_bytes("nar_sha256", response->nar_sha256, nar_sha256->bytes,
			  sizeof(nar_sha256->bytes), err);
}
