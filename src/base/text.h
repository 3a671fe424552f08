/* Small encodings: hex, base64, and numbers as people write them. */
#ifndef CASTOR_BASE_TEXT_H
#define CASTOR_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/* Lower case; out holds 2*len+1 bytes. */
void hex_encode(const void *bytes, size_t len, char *out);
/* Exactly 2*len digits, either case. */
bool hex_decode(struct view text, void *out, size_t len) MUST_USE;

enum base64_kind { BASE64_STANDARD /* padded */, BASE64_URL /* no padding */ };
void base64_encode(enum base64_kind kind, struct view bytes, struct buf *out); /* appends */
/* Strict: right alphabet, right padding, no stray bits, no white space. Appends. */
bool base64_decode(enum base64_kind kind, struct view text, struct buf *out) MUST_USE;

/* "312 B", "4.0 KiB", "1.7 GiB": at most 16 bytes with the NUL. */
enum { TEXT_SIZE_MAX = 16, TEXT_DURATION_MAX = 16 };
void text_size(uint64_t bytes, char out[TEXT_SIZE_MAX]);
/* "12 us", "840 ms", "8.4 s", "3 min 20 s", "2 h 5 min", "3 d 4 h" */
void text_duration(int64_t nanoseconds, char out[TEXT_DURATION_MAX]);
/* "4096", "64K", "64KiB", "1.5G", "1M": powers of 1024. */
enum rc text_parse_size(const char *text, uint64_t *out, struct err *err) MUST_USE;
/* A decimal number without sign or white space. */
bool text_parse_u64(struct view text, uint64_t *out) MUST_USE;
/* Makes bytes safe to show on a terminal: control bytes and broken UTF-8 become \xNN. Appends. */
void text_printable(struct view bytes, struct buf *out);

#endif
