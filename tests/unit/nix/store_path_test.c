/* Store paths: text, order, and the paths that nix computes (tests/golden/README.md). */
#include "nix/store_path.h"

#include "base/text.h"
#include "unit/testing.h"

static struct store_path parse(const char *text)
{
	struct err err = ERR_INIT;
	struct store_path path;

	assert_ok(store_path_parse(view_of_string(text), &path, &err), &err);
	return path;
}

static struct ca ca_of(enum ca_kind kind, const char *hex)
{
	struct ca ca = { .kind = kind };

	assert_true(hex_decode(view_of_string(hex), ca.digest, ca_digest_size(kind)));
	return ca;
}

#define VECTORS_SHA256 "9acd5a34fb5c7d56f13a81bb1b568181792f0a51af1d4f175a97692276b3ab2d"
#define HELLO_SHA1     "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d"
#define HELLO_MD5      "5d41402abc4b2a76b9719d911017c592"
#define HELLO          "gwina1sjk7g95wq6fxc6b7s1hza53h74-hello"

static void computes_what_nix_computes(void **state)
{
	static const struct {
		enum ca_kind kind;
		const char *hex, *name, *path;
	} vectors[] = {
		{ CA_NAR_SHA256, VECTORS_SHA256, "vectors",
		  "9c1h8k9sbc4gq2av0gm74pbsfqjd6zs9-vectors" },
		{ CA_FLAT_SHA256, VECTORS_SHA256, "src.tar.gz",
		  "r294nn0hr8l8xp1fzxzw7nfan1xcn7v9-src.tar.gz" },
		{ CA_NAR_SHA1, HELLO_SHA1, "x", "3k11cm6bm724fzmgiz4s73zdgk7ia83b-x" },
		{ CA_FLAT_SHA1, HELLO_SHA1, "x", "6akgbvwy3ssz411f8i5p5fqpnjsqc0cr-x" },
		{ CA_FLAT_MD5, HELLO_MD5, "x", "sfpnvypl05l3jayg63lcdpxzndbj26b0-x" },
		/* By `nix-store --print-fixed-path [--recursive]` of nix 2.8. */
		{ CA_NAR_MD5, HELLO_MD5, "x", "0f3x2l005hjzpvjqrnj2mkxxv54f0cn0-x" },
		{ CA_FLAT_SHA512,
		  "9b71d224bd62f3785d96d46ad3ea3d73319bfbc2890caadae2dff72519673ca7"
		  "2323c3d99ba5c11d7c7acc6e14b8c5da0c4663475c2e5c3adef46f73bcdec043",
		  "x", "fr8vj6l1i8g54pgvz8p5a1p3fl60zyrk-x" },
		{ CA_NAR_SHA512,
		  "9b71d224bd62f3785d96d46ad3ea3d73319bfbc2890caadae2dff72519673ca7"
		  "2323c3d99ba5c11d7c7acc6e14b8c5da0c4663475c2e5c3adef46f73bcdec043",
		  "x", "jyf4qidh6jr7l7g2lsv836qwglv5bzzf-x" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		struct ca ca = ca_of(vectors[i].kind, vectors[i].hex);
		char text[STORE_PATH_BASENAME_MAX + 1];
		struct err err = ERR_INIT;
		struct store_path path;

		assert_ok(store_path_from_ca(&ca, view_of_string(vectors[i].name), NULL, 0, false,
					     &path, &err),
			  &err);
		store_path_basename(&path, text);
		assert_string_equal(text, vectors[i].path);
	}
}

/* The text and the recursive file of the golden narinfos: the address comes from their CA lines. */
static void computes_golden_narinfos(void **state)
{
	static const char note_ca[] =
		"text:sha256:0mv1v58rf2y703flcmg8wnww5rlypdsdydllq6vx0bagd4hzigbd";
	static const char hello_ca[] =
		"fixed:r:sha256:04zwf782yjwnh3q6hz5izfd6jyip8kgw6g6yj43fiqhbyhdd0dqw";
	struct store_path hello = parse(HELLO), twice[2] = { hello, hello };
	struct err err = ERR_INIT;
	struct store_path path;
	struct ca ca;
	char text[STORE_PATH_ABSOLUTE_MAX + 1];

	(void)state;
	assert_ok(ca_parse(view_of_string(note_ca), &ca, &err), &err);
	assert_ok(store_path_from_ca(&ca, view_of_string("note"), twice, 2, false, &path, &err),
		  &err);
	store_path_absolute(&path, text);
	assert_string_equal(text, "/nix/store/az9l0xsrkblh1qsaa40xrnvq34x4n45q-note");

	assert_ok(ca_parse(view_of_string(hello_ca), &ca, &err), &err);
	assert_ok(store_path_from_ca(&ca, view_of_string("hello"), NULL, 0, false, &path, &err),
		  &err);
	assert_true(store_path_equal(&path, &hello));
}

/* Order of references does not matter; self does. */
static void references_are_sorted(void **state)
{
	struct store_path refs[3] = { parse("9c1h8k9sbc4gq2av0gm74pbsfqjd6zs9-vectors"),
				      parse(HELLO), parse("00000000000000000000000000000000-a") };
	struct store_path turned[3] = { refs[2], refs[0], refs[1] };
	struct ca ca = ca_of(CA_NAR_SHA256, VECTORS_SHA256);
	struct store_path one, other, self;
	struct err err = ERR_INIT;

	(void)state;
	assert_ok(store_path_from_ca(&ca, view_of_string("n"), refs, 3, false, &one, &err), &err);
	assert_ok(store_path_from_ca(&ca, view_of_string("n"), turned, 3, false, &other, &err),
		  &err);
	assert_true(store_path_equal(&one, &other));
	assert_ok(store_path_from_ca(&ca, view_of_string("n"), refs, 3, true, &self, &err), &err);
	assert_false(store_path_equal(&one, &self));
}

static void refuses_references_where_there_can_be_none(void **state)
{
	struct store_path hello = parse(HELLO);
	struct store_path out;

	(void)state;
	for (unsigned kind = 0; kind < CA_KIND_COUNT_; kind++) {
		struct ca ca = { .kind = (enum ca_kind)kind };
		bool may = kind == CA_NAR_SHA256 || kind == CA_TEXT_SHA256;

		assert_int_equal(
			store_path_from_ca(&ca, view_of_string("x"), &hello, 1, false, &out, NULL),
			may ? RC_OK : RC_INVALID);
		assert_int_equal(
			store_path_from_ca(&ca, view_of_string("x"), NULL, 0, true, &out, NULL),
			kind == CA_NAR_SHA256 ? RC_OK : RC_INVALID);
	}
	assert_int_equal(store_path_from_ca(&(struct ca){ .kind = CA_NAR_SHA256 },
					    view_of_string("a/b"), NULL, 0, false, &out, NULL),
			 RC_INVALID);
	assert_int_equal(out.name[0], '\0');
}

static void parses_and_prints(void **state)
{
	char text[STORE_PATH_ABSOLUTE_MAX + 1];
	struct store_path path = parse("/nix/store/" HELLO);

	(void)state;
	assert_string_equal(path.name, "hello");
	store_path_basename(&path, text);
	assert_string_equal(text, HELLO);
	store_path_absolute(&path, text);
	assert_string_equal(text, "/nix/store/" HELLO);
	path = parse("gwina1sjk7g95wq6fxc6b7s1hza53h74-.with+all-of_these?=09AZaz");
	assert_string_equal(path.name, ".with+all-of_these?=09AZaz");
}

static void names_have_limits(void **state)
{
	static const char hash[] = "gwina1sjk7g95wq6fxc6b7s1hza53h74-";
	char text[256];
	struct store_path path;

	(void)state;
	memset(text, 'n', sizeof(text));
	memcpy(text, hash, 33);
	assert_int_equal(store_path_parse(view_of(text, 33 + 211), &path, NULL), RC_OK);
	assert_int_equal(strlen(path.name), 211);
	assert_int_equal(store_path_parse(view_of(text, 33 + 212), &path, NULL), RC_INVALID);
	assert_int_equal(path.name[0], '\0');
	assert_int_equal(store_path_parse(view_of(text, 33), &path, NULL), RC_INVALID);
	assert_int_equal(store_path_parse(view_of(text, 32), &path, NULL), RC_INVALID);
	assert_int_equal(store_path_parse(view_of(NULL, 0), &path, NULL), RC_INVALID);
	for (unsigned byte = 0; byte < 256; byte++) {
		bool good = byte && (strchr("+-._?=", (int)byte) || (byte >= '0' && byte <= '9') ||
				     (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z'));

		text[33] = (char)byte;
		assert_int_equal(store_path_parse(view_of(text, 34), &path, NULL),
				 good ? RC_OK : RC_INVALID);
	}
}

static void refuses_other_text(void **state)
{
	static const char *const bad[] = {
		"/nix/store/",
		"/nix/store",
		"/nix/store//" HELLO,
		"/nix/store/" HELLO "/",
		"/nix/store/" HELLO "/bin",
		"/gnu/store/" HELLO,
		"nix/store/" HELLO,
		"ewina1sjk7g95wq6fxc6b7s1hza53h74-hello",
		"GWINA1SJK7G95WQ6FXC6B7S1HZA53H74-hello",
		"gwina1sjk7g95wq6fxc6b7s1hza53h74_hello",
		"gwina1sjk7g95wq6fxc6b7s1hza53h7-hello",
	};
	struct store_path path;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct err err = ERR_INIT;

		assert_int_equal(store_path_parse(view_of_string(bad[i]), &path, &err), RC_INVALID);
		assert_true(err.message[0]);
	}
}

static int sign(int number)
{
	return (number > 0) - (number < 0);
}

/* The order is that of the basenames, as strcmp has it. */
static void compares_by_basename(void **state)
{
	struct store_path paths[64];
	char a[STORE_PATH_BASENAME_MAX + 1], b[STORE_PATH_BASENAME_MAX + 1];
	unsigned seed = 7;

	(void)state;
	print_message("seed %u\n", seed);
	srand(seed);
	for (size_t i = 0; i < 64; i++) {
		for (size_t j = 0; j < STORE_PATH_HASH_SIZE; j++)
			paths[i].hash[j] = (uint8_t)(i % 2 ? rand() : 0);
		snprintf(paths[i].name, sizeof(paths[i].name), "%d", rand() % 1000);
	}
	for (size_t i = 0; i < 64; i++) {
		for (size_t j = 0; j < 64; j++) {
			store_path_basename(&paths[i], a);
			store_path_basename(&paths[j], b);
			assert_int_equal(sign(store_path_compare(&paths[i], &paths[j])),
					 sign(strcmp(a, b)));
		}
	}
}

static void content_addresses_as_text(void **state)
{
	struct ca ca, back;
	struct err err = ERR_INIT;

	(void)state;
	for (unsigned kind = 0; kind < CA_KIND_COUNT_; kind++) {
		CLEANUP(buf_release) struct buf text = BUF_INIT;

		memset(&ca, 0, sizeof(ca));
		ca.kind = (enum ca_kind)kind;
		for (size_t i = 0; i < ca_digest_size(ca.kind); i++)
			ca.digest[i] = (uint8_t)(kind + 37 * i);
		ca_print(&ca, &text);
		assert_ok(ca_parse(buf_view(&text), &back, &err), &err);
		assert_memory_equal(&ca, &back, sizeof(ca));
		text.len--;
		assert_int_equal(ca_parse(buf_view(&text), &back, NULL), RC_INVALID);
	}
	assert_ok(ca_parse(view_of_string("fixed:sha1:" HELLO_SHA1), &ca, &err), &err);
	assert_int_equal(ca.kind, CA_FLAT_SHA1);
	assert_int_equal(ca_parse(view_of_string("fixed:git:sha1:" HELLO_SHA1), &ca, NULL),
			 RC_UNSUPPORTED);
	assert_int_equal(ca_parse(view_of_string("text:sha1:" HELLO_SHA1), &ca, NULL),
			 RC_UNSUPPORTED);
	assert_int_equal(ca_parse(view_of(NULL, 0), &ca, NULL), RC_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(computes_what_nix_computes),
		cmocka_unit_test(computes_golden_narinfos),
		cmocka_unit_test(references_are_sorted),
		cmocka_unit_test(refuses_references_where_there_can_be_none),
		cmocka_unit_test(parses_and_prints),
		cmocka_unit_test(names_have_limits),
		cmocka_unit_test(refuses_other_text),
		cmocka_unit_test(compares_by_basename),
		cmocka_unit_test(content_addresses_as_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
