/*
 * Writes JSON, appended to a buffer: structure and commas kept right by a small state. Strings are
 * the bytes of a store; what is not UTF-8 in them becomes U+FFFD. json_bytes loses nothing.
 */
#ifndef CASTOR_BASE_JSON_H
#define CASTOR_BASE_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

struct json {
	struct buf *out;
	bool comma; /* the next value or key needs one before it */
};

void json_begin_object(struct json *json);
void json_end_object(struct json *json);
void json_begin_array(struct json *json);
void json_end_array(struct json *json);
/* The next value belongs to it. */
void json_key(struct json *json, const char *name);
void json_key_view(struct json *json, struct view name);
void json_text(struct json *json, const char *string);
void json_view(struct json *json, struct view bytes);
/* A member: the key and its value, and where that is not UTF-8, its bytes beside it: the key with "_base64"
 * behind it, and standard base64. */
void json_bytes(struct json *json, const char *key, struct view bytes);
void json_u64(struct json *json, uint64_t value);
void json_bool(struct json *json, bool value);

#endif
