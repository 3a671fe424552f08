/* The digest of a path that refers to itself: that of one which nix made, and what it depends on. */
#include "nix/modulo_hash.h"

#include <openssl/evp.h>

#include "nix/nar_writer.h"
#include "nix/path_info.h"
#include "unit/testing.h"

#define HASH_PART "qlds5ny6vmyxmq6fi9kmbx0ik4qb1mf7"
#define PATH      "/nix/store/" HASH_PART "-selfref-1.0"
#define AUTO_BUF  CLEANUP(buf_release) struct buf

/* As `nix store make-content-addressed` of nix 2.8 made it. */
static void nar_of_nix(struct buf *out)
{
	AUTO_BUF content = BUF_INIT;

	for (int i = 0; i < 100; i++)
		buf_append_byte(&content, 'x');
	buf_append_string(&content, PATH "/bin " HASH_PART HASH_PART "\n");
	nar_begin(out);
	nar_directory_begin(out);
	nar_entry_begin(out, view_of_string("a"));
	nar_file_begin(out, false, content.len);
	buf_append_view(out, buf_view(&content));
	nar_file_end(out, content.len);
	nar_entry_end(out);
	nar_entry_begin(out, view_of_string("b"));
	nar_file_begin(out, false, 4);
	buf_append_string(out, "none");
	nar_file_end(out, 4);
	nar_entry_end(out);
	nar_directory_end(out);
}

static void hash_by(const char *hash_part, struct view bytes, size_t step, struct nar_hash *out)
{
	struct modulo_hash *modulo;
	struct err err = ERR_INIT;
	struct store_path path;
	AUTO_FREE char *name = mem_printf("%s-x", hash_part);

	assert_ok(store_path_parse_basename(view_of_string(name), &path, &err), &err);
	modulo = modulo_hash_new(path.hash);
	assert_non_null(modulo);
	while (bytes.len > 0) {
		size_t some = bytes.len < step ? bytes.len : step;

		assert_ok(modulo_hash_feed(modulo, view_slice(bytes, 0, some), &err), &err);
		bytes = view_slice(bytes, some, bytes.len - some);
	}
	assert_ok(modulo_hash_final(modulo, out, &err), &err);
	modulo_hash_free(modulo);
}

static void as_nix_has_it(void **state)
{
	static const size_t steps[] = { 1, 31, 32, 33, 100, SIZE_MAX };
	AUTO_BUF nar = BUF_INIT;
	struct err err = ERR_INIT;
	struct ca ca;

	(void)state;
	nar_of_nix(&nar);
	assert_int_equal(nar.len, 704);
	assert_ok(ca_parse(view_of_string("fixed:r:sha256:"
					  "1swi7pg8g0jhhmlg9qskvx9x80hs1jaqabgqg002bbrfd7rxzqdv"),
			   &ca, &err),
		  &err);
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		struct nar_hash hash;

		hash_by(HASH_PART, buf_view(&nar), steps[i], &hash);
		assert_memory_equal(hash.bytes, ca.digest, 32);
	}
}

/* Bytes across the steps in which they are hashed; and zeros are not what stands for a place. */
static void places_count(void **state)
{
	AUTO_BUF bytes = BUF_INIT;
	struct nar_hash plain, with, zeros;
	uint8_t expected[32];

	(void)state;
	for (int i = 0; i < 300000; i++)
		buf_append_byte(&bytes, (uint8_t)(i * 7));
	hash_by(HASH_PART, buf_view(&bytes), SIZE_MAX, &plain);
	assert_int_equal(EVP_Digest(bytes.ptr, bytes.len, expected, NULL, EVP_sha256(), NULL), 1);
	assert_memory_equal(plain.bytes, expected, 32);
	for (size_t at = (64 << 10) - 40; at < (64 << 10) + 40; at++) {
		AUTO_BUF changed = BUF_INIT;
		char place[32];

		buf_append_view(&changed, buf_view(&bytes));
		memcpy(changed.ptr + at, HASH_PART, 32);
		hash_by(HASH_PART, buf_view(&changed), SIZE_MAX, &with);
		memset(changed.ptr + at, 0, 32);
		hash_by(HASH_PART, buf_view(&changed), SIZE_MAX, &zeros);
		assert_memory_not_equal(with.bytes, zeros.bytes, 32);
		snprintf(place, sizeof(place), "|%zu", at);
		buf_append_string(&changed, place);
		hash_by(HASH_PART, buf_view(&changed), 999, &zeros);
		assert_memory_equal(with.bytes, zeros.bytes, 32);
	}
	hash_by("00000000000000000000000000000000", view_of(NULL, 0), 1, &plain);
}

/* Such an address is right by itself: the NAR's hash is another. */
static void a_path_may_refer_to_itself(void **state)
{
	struct path_info info = { .nar_size = 704, .has_ca = true };
	struct store_path other;
	struct err err = ERR_INIT;

	(void)state;
	assert_ok(store_path_parse(view_of_string(PATH), &info.path, &err), &err);
	assert_ok(ca_parse(view_of_string("fixed:r:sha256:"
					  "1swi7pg8g0jhhmlg9qskvx9x80hs1jaqabgqg002bbrfd7rxzqdv"),
			   &info.ca, &err),
		  &err);
	info.references = &info.path;
	info.reference_count = 1;
	assert_true(path_info_refers_to_itself(&info));
	assert_ok(path_info_check_ca(&info, &err), &err);
	info.ca.digest[3] ^= 1;
	assert_rc(RC_INVALID, path_info_check_ca(&info, &err), &err);
	info.ca.digest[3] ^= 1;
	other = info.path;
	other.hash[0] ^= 1;
	info.references = &other;
	assert_false(path_info_refers_to_itself(&info));
	assert_rc(RC_INVALID, path_info_check_ca(&info, &err), &err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_nix_has_it),
		cmocka_unit_test(places_count),
		cmocka_unit_test(a_path_may_refer_to_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
