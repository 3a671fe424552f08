/* NARs of a binary cache: whole or in ranges, straight from a layout. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "server/binary_cache_private.h"
#include "transfer/nar_body.h"

enum {
	/* Of a body, read and given to the kernel at once; fewer bytes where many bodies are sent. */
	BLOCK_MAX = 1 << 20,
	BLOCK_MIN = 32 << 10,
	BLOCKS_MEMORY = 64 << 20,
	ETAG_MAX = 2 + NAR_LAYOUT_ID_HEX + 1,
};

void nar_plain_id(const struct node *node, uint8_t id[NAR_LAYOUT_ID_SIZE])
{
	struct digest key = nar_layouts_key(node);

	memcpy(id, key.bytes, NAR_LAYOUT_ID_SIZE);
}

/* A body that is read while it is sent. Its beginning was read before the reply: that is when the status
 * can still tell of a failure, and the library has a client wait where the first call fails. */
struct reading {
	struct binary_cache *cache;
	size_t counted; /* in its blocks_memory */
	struct nar_body *body;
	uint8_t *first; /* until it was sent */
	size_t first_len;
};

static ssize_t read_body(void *arg, uint64_t at, char *out, size_t len)
{
	struct reading *reading = arg;
	struct err err = ERR_INIT;
	size_t got;

	if (at < reading->first_len) {
		got = reading->first_len - (size_t)at < len ? reading->first_len - (size_t)at : len;
		memcpy(out, reading->first + at, got);
		return (ssize_t)got;
	}
	free(reading->first);
	reading->first = NULL;
	if (nar_body_read(reading->body, &op_none, out, len, &got, &err) != RC_OK) {
		log_error("a NAR breaks off: %s", err.message);
		return MHD_CONTENT_READER_END_WITH_ERROR;
	}
	return got > 0 ? (ssize_t)got : MHD_CONTENT_READER_END_OF_STREAM;
}

static void free_reading(void *arg)
{
	struct reading *reading = arg;

	atomic_fetch_sub(&reading->cache->blocks_memory, reading->counted);
	nar_body_free(reading->body);
	free(reading->first);
	free(reading);
}

/* What one body takes leaves as much for each of seven more. */
static size_t block_size(struct binary_cache *cache, uint64_t len)
{
	size_t used = atomic_load(&cache->blocks_memory);
	size_t block = used < BLOCKS_MEMORY ? (BLOCKS_MEMORY - used) / 8 : 0;

	if (block < BLOCK_MIN)
		block = BLOCK_MIN;
	if (block > BLOCK_MAX)
		block = BLOCK_MAX;
	return len < block ? (size_t)len : block;
}

struct wish {
	uint64_t size;       /* of the whole body */
	char etag[ETAG_MAX]; /* of the current encoding */
	bool stale;          /* the URL names another encoding */
	uint64_t from, to;   /* what is sent */
};

static void reply_empty(struct http_exchange *exchange, const struct wish *wish, unsigned status)
{
	struct MHD_Response *response =
		MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
	char text[64];

	if (!response)
		return;
	(void)MHD_add_response_header(response, "ETag", wish->etag);
	if (status == MHD_HTTP_RANGE_NOT_SATISFIABLE) {
		snprintf(text, sizeof(text), "bytes */%ju", (uintmax_t)wish->size);
		(void)MHD_add_response_header(response, "Content-Range", text);
	}
	http_reply(exchange, status, response);
}

/* The status of the reply; wish->from and to are then what it has. A range of an encoding that is no
 * more is not there: whoever goes on with a download must not get bytes of another one. */
static unsigned decide(const struct http_exchange *exchange, struct wish *wish)
{
	const char *match = http_header(exchange, "If-Match");
	const char *none_match = http_header(exchange, "If-None-Match");
	const char *range = http_header(exchange, "Range");
	const char *if_range = http_header(exchange, "If-Range");
	struct view etag = view_of_string(wish->etag);

	wish->from = 0;
	wish->to = wish->size;
	if (match && !http_etag_listed(view_of_string(match), etag, false))
		return MHD_HTTP_PRECONDITION_FAILED;
	if (none_match && http_etag_listed(view_of_string(none_match), etag, true))
		return MHD_HTTP_NOT_MODIFIED;
	if (!range || exchange->method != HTTP_GET)
		return MHD_HTTP_OK;
	if (if_range && !view_equal_string(etag, if_range))
		return MHD_HTTP_OK;
	switch (http_range_parse(view_of_string(range), wish->size, &wish->from, &wish->to)) {
	case HTTP_RANGE_NONE:
		return MHD_HTTP_OK;
	case HTTP_RANGE_PART:
		return wish->stale && !if_range && !match ? MHD_HTTP_NOT_FOUND
							  : MHD_HTTP_PARTIAL_CONTENT;
	case HTTP_RANGE_UNSATISFIABLE:
		break;
	}
	return wish->stale && !if_range && !match ? MHD_HTTP_NOT_FOUND
						  : MHD_HTTP_RANGE_NOT_SATISFIABLE;
}

static enum rc read_first(struct reading *reading, size_t len, struct err *err)
{
	enum rc rc = RC_OK;
	size_t got = 1;

	reading->first = mem_try_alloc(len);
	if (!reading->first)
		return err_set(err, RC_NO_MEMORY, "no memory for a NAR");
	while (rc == RC_OK && got > 0 && reading->first_len < len) {
		rc = nar_body_read(reading->body, &op_none, reading->first + reading->first_len,
				   len - reading->first_len, &got, err);
		reading->first_len += rc == RC_OK ? got : 0;
	}
	/* What there is comes first. */
	return reading->first_len > 0 ? RC_OK : rc;
}

/* *out NULL: no memory. */
static enum rc read_response(struct binary_cache *cache, const struct wish *wish, bool get,
			     struct nar_layout *layout, bool plain, struct MHD_Response **out,
			     struct err *err)
{
	uint64_t len = wish->to - wish->from;
	size_t block = block_size(cache, len);
	struct reading *reading = mem_zalloc(sizeof(*reading));
	enum rc rc = RC_OK;

	reading->cache = cache;
	/* The library's block, and the first until it was sent. */
	reading->counted = len == block ? block : 2 * block;
	atomic_fetch_add(&cache->blocks_memory, reading->counted);
	reading->body = nar_body_new(layout, cache->services->blobs, plain, wish->from, wish->to);
	nar_body_use(reading->body, cache->decoded);
	if (get && len > 0)
		rc = read_first(reading, block, err);
	if (rc == RC_OK && get && reading->first_len == len && len > 0) {
		*out = MHD_create_response_from_buffer_with_free_callback_cls(
			(size_t)len, reading->first, free_reading, reading);
		if (*out)
			return RC_OK;
	} else if (rc == RC_OK) {
		*out = MHD_create_response_from_callback(len, len == block ? block + 1 : block,
							 read_body, reading, free_reading);
		if (*out)
			return RC_OK;
	}
	free_reading(reading);
	return rc;
}

static void reply_body(struct binary_cache *cache, struct http_exchange *exchange,
		       const struct wish *wish, unsigned status, struct nar_layout *layout,
		       bool plain)
{
	struct MHD_Response *response = NULL;
	bool get = exchange->method == HTTP_GET;
	struct err err = ERR_INIT;
	enum rc rc;
	char text[96];

	rc = read_response(cache, wish, get, layout, plain, &response, &err);
	if (rc != RC_OK)
		binary_cache_reply_error(exchange, rc, &err);
	if (!response)
		return;
	(void)MHD_add_response_header(response, "Content-Type",
				      plain ? "application/x-nix-nar" : "application/zstd");
	(void)MHD_add_response_header(response, "Accept-Ranges", "bytes");
	(void)MHD_add_response_header(response, "ETag", wish->etag);
	if (status == MHD_HTTP_PARTIAL_CONTENT) {
		snprintf(text, sizeof(text), "bytes %ju-%ju/%ju", (uintmax_t)wish->from,
			 (uintmax_t)wish->to - 1, (uintmax_t)wish->size);
		(void)MHD_add_response_header(response, "Content-Range", text);
	}
	http_reply(exchange, status, response);
}

void nar_reply(struct binary_cache *cache, struct http_exchange *exchange,
	       const struct http_route *route, const struct node *node, struct nar_layout *layout)
{
	bool plain = route->kind == HTTP_ROUTE_NAR_BRIDGE || route->plain;
	const uint8_t *id = layout->id;
	uint8_t plain_id[NAR_LAYOUT_ID_SIZE];
	char hex[NAR_LAYOUT_ID_HEX + 1];
	struct wish wish = { 0 };
	unsigned status;

	if (plain) {
		nar_plain_id(node, plain_id);
		id = plain_id;
	}
	hex_encode(id, NAR_LAYOUT_ID_SIZE, hex);
	snprintf(wish.etag, sizeof(wish.etag), "\"%s\"", hex);
	wish.size = plain ? nar_layout_nar_size(layout) : nar_layout_size(layout);
	wish.stale =
		route->kind == HTTP_ROUTE_NAR && memcmp(route->id, id, NAR_LAYOUT_ID_SIZE) != 0;
	status = decide(exchange, &wish);
	switch (status) {
	case MHD_HTTP_OK:
	case MHD_HTTP_PARTIAL_CONTENT:
		reply_body(cache, exchange, &wish, status, layout, plain);
		break;
	case MHD_HTTP_NOT_FOUND:
		http_reply_text(exchange, status, "this encoding is no more");
		break;
	default:
		reply_empty(exchange, &wish, status);
	}
}
