/*
 * Store paths, and how they are computed from a content address. Source: the Nix manual, "Complete
 * Store Path Calculation": the hash part is SHA-256("<type>:sha256:<hex>:/nix/store:<name>"),
 * folded to 20 bytes.
 */
#include "nix/store_path.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/mem.h"
#include "base/text.h"
#include "nix/nixbase32.h"

enum { SHA256_SIZE = 32, SHA256_HEX_MAX = 65 };

/* ---- Names and text ---- */

static bool is_name_char(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c != '\0' && strchr("+-._?=", c));
}

enum rc store_path_check_name(struct view name, struct err *err)
{
	if (name.len == 0)
		return err_set(err, RC_INVALID, "the name of a store path is empty");
	if (name.len > STORE_PATH_NAME_MAX)
		return err_set(err, RC_INVALID,
			       "the name of a store path has %zu bytes, more than %d", name.len,
			       STORE_PATH_NAME_MAX);
	for (size_t i = 0; i < name.len; i++) {
		if (!is_name_char(name.ptr[i]))
			return err_set(
				err, RC_INVALID,
				"the name of a store path has byte 0x%02x at %zu: allowed are "
				"letters, digits and +-._?=",
				name.ptr[i], i);
	}
	return RC_OK;
}

void store_path_basename(const struct store_path *path, char *out)
{
	nixbase32_encode(path->hash, STORE_PATH_HASH_SIZE, out);
	out[STORE_PATH_HASH_CHARS] = '-';
	strcpy(out + STORE_PATH_HASH_CHARS + 1, path->name);
}

void store_path_absolute(const struct store_path *path, char *out)
{
	static const char dir[] = STORE_DIR "/";

	memcpy(out, dir, sizeof(dir) - 1);
	store_path_basename(path, out + sizeof(dir) - 1);
}

enum rc store_path_parse_basename(struct view text, struct store_path *out, struct err *err)
{
	struct view name;
	enum rc rc;

	memset(out, 0, sizeof(*out));
	if (text.len < STORE_PATH_HASH_CHARS + 1 || text.ptr[STORE_PATH_HASH_CHARS] != '-')
		return err_set(err, RC_INVALID,
			       "not a store path: expected 32 characters, a '-' and a name");
	name = view_slice(text, STORE_PATH_HASH_CHARS + 1, text.len - STORE_PATH_HASH_CHARS - 1);
	rc = store_path_check_name(name, err);
	if (rc != RC_OK)
		return rc;
	if (!nixbase32_decode(view_slice(text, 0, STORE_PATH_HASH_CHARS), out->hash,
			      STORE_PATH_HASH_SIZE))
		return err_set(err, RC_INVALID,
			       "not a store path: its first 32 characters are not nixbase32");
	memcpy(out->name, name.ptr, name.len);
	return RC_OK;
}

enum rc store_path_parse(struct view text, struct store_path *out, struct err *err)
{
	static const char dir[] = STORE_DIR "/";
	const size_t len = sizeof(dir) - 1;

	if (text.len >= len && memcmp(text.ptr, dir, len) == 0)
		text = view_slice(text, len, text.len - len);
	return store_path_parse_basename(text, out, err);
}

bool store_path_equal(const struct store_path *a, const struct store_path *b)
{
	return memcmp(a->hash, b->hash, STORE_PATH_HASH_SIZE) == 0 && strcmp(a->name, b->name) == 0;
}

int store_path_compare(const struct store_path *a, const struct store_path *b)
{
	/* nixbase32 writes the last byte first, and its alphabet ascends. */
	for (size_t i = STORE_PATH_HASH_SIZE; i-- > 0;) {
		if (a->hash[i] != b->hash[i])
			return a->hash[i] < b->hash[i] ? -1 : 1;
	}
	return strcmp(a->name, b->name);
}

void store_path_drop_drv(struct store_path *path)
{
	static const char ending[] = ".drv";
	size_t len = strlen(path->name), ending_len = sizeof(ending) - 1;

	if (len > ending_len && strcmp(path->name + len - ending_len, ending) == 0)
		memset(path->name + len - ending_len, 0, ending_len);
}

static bool starts_with(struct view text, const char *prefix)
{
	size_t len = strlen(prefix);

	return text.len >= len && memcmp(text.ptr, prefix, len) == 0;
}

/* ---- Hashes of NARs ---- */

void nar_hash_print(const struct nar_hash *hash, struct buf *out)
{
	char text[NIXBASE32_LEN(sizeof(hash->bytes)) + 1];

	nixbase32_encode(hash->bytes, sizeof(hash->bytes), text);
	buf_printf(out, "sha256:%s", text);
}

/* "<algorithm>:" and nixbase32, hex or base64 of `size` bytes, or "<algorithm>-" and base64. */
static bool parse_hash(struct view text, const char *algorithm, uint8_t *out, size_t size)
{
	CLEANUP(buf_release) struct buf bytes = BUF_INIT;
	size_t len = strlen(algorithm);
	struct view digits;

	if (!starts_with(text, algorithm) || text.len <= len ||
	    (text.ptr[len] != ':' && text.ptr[len] != '-'))
		return false;
	digits = view_slice(text, len + 1, text.len - len - 1);
	if (text.ptr[len] == ':' &&
	    (nixbase32_decode(digits, out, size) || hex_decode(digits, out, size)))
		return true;
	if (digits.len != (size + 2) / 3 * 4 || !base64_decode(BASE64_STANDARD, digits, &bytes) ||
	    bytes.len != size)
		return false;
	memcpy(out, bytes.ptr, size);
	return true;
}

enum rc nar_hash_parse(struct view text, struct nar_hash *out, struct err *err)
{
	if (parse_hash(text, "sha256", out->bytes, sizeof(out->bytes)))
		return RC_OK;
	memset(out, 0, sizeof(*out));
	return err_set(err, RC_INVALID,
		       "not a SHA-256: expected \"sha256:\" and %zu bytes in nixbase32, hex or "
		       "base64, or \"sha256-\" and base64",
		       sizeof(out->bytes));
}

bool other_hash_is_valid(struct view text)
{
	uint8_t bytes[64];

	return parse_hash(text, "md5", bytes, 16) || parse_hash(text, "sha1", bytes, 20) ||
	       parse_hash(text, "sha512", bytes, 64) || parse_hash(text, "blake3", bytes, 32);
}

/* ---- Content addresses ---- */

static const struct ca_method {
	const char *prefix; /* of the text form, up to the digest */
	const char *inner;  /* what is hashed for an output:out path; NULL: another type */
	size_t digest_size;
} methods[CA_KIND_COUNT_] = {
	[CA_NAR_SHA256] = { "fixed:r:sha256:", NULL, 32 },
	[CA_NAR_SHA1] = { "fixed:r:sha1:", "fixed:out:r:sha1:", 20 },
	[CA_NAR_SHA512] = { "fixed:r:sha512:", "fixed:out:r:sha512:", 64 },
	[CA_NAR_MD5] = { "fixed:r:md5:", "fixed:out:r:md5:", 16 },
	[CA_TEXT_SHA256] = { "text:sha256:", NULL, 32 },
	[CA_FLAT_SHA1] = { "fixed:sha1:", "fixed:out:sha1:", 20 },
	[CA_FLAT_MD5] = { "fixed:md5:", "fixed:out:md5:", 16 },
	[CA_FLAT_SHA256] = { "fixed:sha256:", "fixed:out:sha256:", 32 },
	[CA_FLAT_SHA512] = { "fixed:sha512:", "fixed:out:sha512:", 64 },
};

static const struct ca_method *method_of(enum ca_kind kind)
{
	assert((unsigned)kind < CA_KIND_COUNT_);
	return &methods[kind];
}

size_t ca_digest_size(enum ca_kind kind)
{
	return method_of(kind)->digest_size;
}

void ca_print(const struct ca *ca, struct buf *out)
{
	const struct ca_method *method = method_of(ca->kind);
	char digest[NIXBASE32_LEN(sizeof(ca->digest)) + 1];

	nixbase32_encode(ca->digest, method->digest_size, digest);
	buf_append_string(out, method->prefix);
	buf_append_string(out, digest);
}

enum rc ca_parse(struct view text, struct ca *out, struct err *err)
{
	memset(out, 0, sizeof(*out));
	for (unsigned kind = 0; kind < CA_KIND_COUNT_; kind++) {
		const struct ca_method *method = &methods[kind];
		size_t prefix = strlen(method->prefix);
		struct view digest;

		if (!starts_with(text, method->prefix))
			continue;
		digest = view_slice(text, prefix, text.len - prefix);
		out->kind = (enum ca_kind)kind;
		if (nixbase32_decode(digest, out->digest, method->digest_size) ||
		    hex_decode(digest, out->digest, method->digest_size))
			return RC_OK;
		memset(out, 0, sizeof(*out));
		return err_set(
			err, RC_INVALID,
			"the digest of a content address is not %zu bytes of nixbase32 or hex",
			method->digest_size);
	}
	if (starts_with(text, "fixed:") || starts_with(text, "text:"))
		return err_set(err, RC_UNSUPPORTED,
			       "a content address that castor does not know: neither text:sha256: "
			       "nor fixed:[r:]<md5|sha1|sha256|sha512>:");
	return err_set(err, RC_INVALID, "a content address starts with \"text:\" or \"fixed:\"");
}

/* ---- Store paths from content ---- */

static void sha256(struct view bytes, uint8_t out[SHA256_SIZE])
{
	unsigned len = 0;
	int ok = EVP_Digest(bytes.ptr, bytes.len, out, &len, EVP_sha256(), NULL);

	assert(ok == 1 && len == SHA256_SIZE);
	(void)ok;
}

static int compare_references(const void *a, const void *b)
{
	return store_path_compare(a, b);
}

/* Appends ":<absolute path>" for each reference, sorted, each once. */
static void append_references(struct buf *out, const struct store_path *references, size_t count)
{
	AUTO_FREE struct store_path *sorted = NULL;

	if (count == 0)
		return;
	sorted = mem_array(count, sizeof(*sorted));
	memcpy(sorted, references, count * sizeof(*sorted));
	qsort(sorted, count, sizeof(*sorted), compare_references);
	for (size_t i = 0; i < count; i++) {
		char text[STORE_PATH_ABSOLUTE_MAX + 1];

		if (i > 0 && store_path_equal(&sorted[i], &sorted[i - 1]))
			continue;
		store_path_absolute(&sorted[i], text);
		buf_append_byte(out, ':');
		buf_append_string(out, text);
	}
}

static void make_path(const struct buf *type, const uint8_t inner[SHA256_SIZE], struct view name,
		      struct store_path *out)
{
	CLEANUP(buf_release) struct buf text = BUF_INIT;
	char hex[SHA256_HEX_MAX];
	uint8_t hash[SHA256_SIZE];

	hex_encode(inner, SHA256_SIZE, hex);
	buf_append_view(&text, buf_view(type));
	buf_printf(&text, ":sha256:%s:" STORE_DIR ":", hex);
	buf_append_view(&text, name);
	sha256(buf_view(&text), hash);
	for (size_t i = 0; i < SHA256_SIZE; i++)
		out->hash[i % STORE_PATH_HASH_SIZE] ^= hash[i];
	memcpy(out->name, name.ptr, name.len);
}

enum rc store_path_from_ca(const struct ca *ca, struct view name,
			   const struct store_path *references, size_t count, bool self,
			   struct store_path *out, struct err *err)
{
	const struct ca_method *method = method_of(ca->kind);
	CLEANUP(buf_release) struct buf type = BUF_INIT;
	uint8_t inner[SHA256_SIZE];
	enum rc rc;

	memset(out, 0, sizeof(*out));
	rc = store_path_check_name(name, err);
	if (rc != RC_OK)
		return rc;
	if (self && ca->kind != CA_NAR_SHA256)
		return err_set(err, RC_INVALID,
			       "only a recursive SHA-256 content may refer to itself");
	if (count > 0 && ca->kind != CA_NAR_SHA256 && ca->kind != CA_TEXT_SHA256)
		return err_set(err, RC_INVALID,
			       "only a text or a recursive SHA-256 content may have references");

	if (method->inner) {
		CLEANUP(buf_release) struct buf text = BUF_INIT;
		char hex[2 * sizeof(ca->digest) + 1];

		hex_encode(ca->digest, method->digest_size, hex);
		buf_printf(&text, "%s%s:", method->inner, hex);
		sha256(buf_view(&text), inner);
		buf_append_string(&type, "output:out");
	} else {
		memcpy(inner, ca->digest, SHA256_SIZE);
		buf_append_string(&type, ca->kind == CA_TEXT_SHA256 ? "text" : "source");
		append_references(&type, references, count);
		if (self)
			buf_append_string(&type, ":self");
	}
	make_path(&type, inner, name, out);
	return RC_OK;
}
