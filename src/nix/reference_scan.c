/* A window moves over the bytes. It is looked at from its end, so that one foreign character lets it skip
 * all that lies before it: mostly 32 bytes at once. */
#include "nix/reference_scan.h"

#include <stdlib.h>
#include <string.h>

#include "base/hashmap.h"
#include "base/mem.h"
#include "nix/nixbase32.h"

enum { WINDOW = STORE_PATH_HASH_CHARS, TAIL = WINDOW - 1 };

struct reference_scan {
	struct hashmap found;
	bool overflowed;
	bool in_alphabet[256];
	/* The last bytes that were fed: a window may begin there. */
	uint8_t tail[TAIL];
	size_t tail_len;
};

struct reference_scan *reference_scan_new(void)
{
	static const char alphabet[] = "0123456789abcdfghijklmnpqrsvwxyz";
	struct reference_scan *scan = mem_zalloc(sizeof(*scan));

	hashmap_init(&scan->found, STORE_PATH_HASH_SIZE);
	for (size_t i = 0; i < sizeof(alphabet) - 1; i++)
		scan->in_alphabet[(unsigned char)alphabet[i]] = true;
	return scan;
}

void reference_scan_free(struct reference_scan *scan)
{
	if (!scan)
		return;
	hashmap_release(&scan->found);
	free(scan);
}

static void note(struct reference_scan *scan, const uint8_t *window)
{
	uint8_t hash[STORE_PATH_HASH_SIZE];

	if (!nixbase32_decode(view_of(window, WINDOW), hash, sizeof(hash)))
		return;
	if (scan->found.count == REFERENCE_SCAN_MAX && !hashmap_get(&scan->found, hash))
		scan->overflowed = true;
	else
		hashmap_put(&scan->found, hash, scan);
}

static void search(struct reference_scan *scan, const uint8_t *bytes, size_t len)
{
	size_t at = 0;

	while (len - at >= WINDOW) {
		size_t left = WINDOW;

		while (left > 0 && scan->in_alphabet[bytes[at + left - 1]])
			left--;
		if (left == 0)
			note(scan, bytes + at++);
		else
			at += left;
	}
}

void reference_scan_feed(struct reference_scan *scan, struct view bytes)
{
	uint8_t joint[2 * TAIL];
	size_t begin = bytes.len < TAIL ? bytes.len : TAIL;
	size_t joined = scan->tail_len + begin;

	if (bytes.len == 0)
		return;
	/* Windows across the border, then those behind it. */
	memcpy(joint, scan->tail, scan->tail_len);
	memcpy(joint + scan->tail_len, bytes.ptr, begin);
	search(scan, joint, joined);
	if (bytes.len >= WINDOW)
		search(scan, bytes.ptr, bytes.len);
	if (bytes.len >= TAIL) {
		memcpy(scan->tail, bytes.ptr + bytes.len - TAIL, TAIL);
		scan->tail_len = TAIL;
	} else {
		scan->tail_len = joined < TAIL ? joined : TAIL;
		memcpy(scan->tail, joint + joined - scan->tail_len, scan->tail_len);
	}
}

bool reference_scan_overflowed(const struct reference_scan *scan)
{
	return scan->overflowed;
}

bool reference_scan_has(const struct reference_scan *scan, const uint8_t hash[STORE_PATH_HASH_SIZE])
{
	return hashmap_get(&scan->found, hash) != NULL;
}

size_t reference_scan_count(const struct reference_scan *scan)
{
	return scan->found.count;
}

const uint8_t *reference_scan_next(const struct reference_scan *scan, size_t *at)
{
	const void *hash = NULL;

	return hashmap_next(&scan->found, at, &hash, NULL) ? hash : NULL;
}
