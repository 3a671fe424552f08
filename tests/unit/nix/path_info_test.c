/* The PathInfo codec: the bytes that other programs sent, round trips, and what must be refused. */
#include "nix/path_info.h"

#include "base/mem.h"
#include "base/text.h"
#include "base/wire.h"
#include "unit/testing.h"

#define AUTO_BUF CLEANUP(buf_release) struct buf

/* PathInfoService.Get of the vectors tree, as tvix-store and snix-store sent it. */
static const char golden[] =
	"0a500a4e0a2839633168386b3973626334677132617630676d373470627366716a64367a73392d766563746f72"
	"7312200423505cbc9c955ef8083f2f4e176a3d0336925aafbb7a75eb8a5183c80beea1181c1a4b08d895c00112"
	"209acd5a34fb5c7d56f13a81bb1b568181792f0a51af1d4f175a97692276b3ab2d322212209acd5a34fb5c7d56"
	"f13a81bb1b568181792f0a51af1d4f175a97692276b3ab2d";

static void golden_bytes(struct buf *out)
{
	size_t len = (sizeof(golden) - 1) / 2;

	buf_reserve(out, len);
	assert_true(hex_decode(view_of_string(golden), out->ptr, len));
	out->len = len;
}

static void reads_and_writes_golden_bytes(void **state)
{
	AUTO_BUF wire = BUF_INIT;
	AUTO_BUF again = BUF_INIT;
	AUTO_PATH_INFO struct path_info info = { 0 };
	struct err err = ERR_INIT;
	char text[STORE_PATH_BASENAME_MAX + 1], hex[DIGEST_HEX_MAX];

	(void)state;
	golden_bytes(&wire);
	assert_ok(path_info_decode(buf_view(&wire), &info, &err), &err);
	store_path_basename(&info.path, text);
	assert_string_equal(text, "9c1h8k9sbc4gq2av0gm74pbsfqjd6zs9-vectors");
	assert_int_equal(info.node.kind, NODE_DIRECTORY);
	assert_int_equal(info.node.size, 28);
	digest_hex(&info.node.digest, hex);
	assert_string_equal(hex,
			    "0423505cbc9c955ef8083f2f4e176a3d0336925aafbb7a75eb8a5183c80beea1");
	assert_int_equal(info.nar_size, 3148504);
	assert_int_equal(info.reference_count, 0);
	assert_int_equal(info.signature_count, 0);
	assert_false(info.has_deriver);
	assert_true(info.has_ca);
	assert_int_equal(info.ca.kind, CA_NAR_SHA256);
	assert_memory_equal(info.ca.digest, info.nar_sha256.bytes, 32);
	assert_ok(path_info_check(&info, &err), &err);

	path_info_encode(&info, &again);
	assert_int_equal(again.len, wire.len);
	assert_memory_equal(again.ptr, wire.ptr, wire.len);
}

/* One with everything in it. */
static void full(struct path_info *info)
{
	char basename[STORE_PATH_BASENAME_MAX + 1];
	struct node node = { .kind = NODE_SYMLINK, .target = view_of_string("../x") };
	struct err err = ERR_INIT;

	memset(info, 0, sizeof(*info));
	assert_ok(store_path_parse(view_of_string("az9l0xsrkblh1qsaa40xrnvq34x4n45q-note"),
				   &info->path, &err),
		  &err);
	store_path_basename(&info->path, basename);
	node.name = view_of_string(basename);
	node_copy(&info->node, &node);
	info->nar_size = UINT64_MAX;
	memset(info->nar_sha256.bytes, 7, 32);
	info->reference_count = 3;
	info->references = mem_array(3, sizeof(*info->references));
	for (size_t i = 0; i < 3; i++) {
		memset(info->references[i].hash, (int)(200 - 50 * i), STORE_PATH_HASH_SIZE);
		snprintf(info->references[i].name, sizeof(info->references[i].name), "ref-%zu", i);
	}
	info->signature_count = 2;
	info->signatures = mem_array(2, sizeof(*info->signatures));
	info->signatures[0].name = mem_strdup("cache.nixos.org-1");
	info->signatures[1].name = mem_strdup("with_underscore");
	memset(info->signatures[1].data, 0x55, SIGNATURE_SIZE);
	info->has_deriver = true;
	info->deriver = info->references[1];
	info->has_ca = true;
	info->ca.kind = CA_FLAT_SHA512;
	memset(info->ca.digest, 9, 64);
}

static void assert_same(const struct path_info *a, const struct path_info *b)
{
	assert_true(store_path_equal(&a->path, &b->path));
	assert_true(node_equal(&a->node, &b->node));
	assert_true(a->nar_size == b->nar_size);
	assert_memory_equal(&a->nar_sha256, &b->nar_sha256, sizeof(a->nar_sha256));
	assert_int_equal(a->reference_count, b->reference_count);
	for (size_t i = 0; i < a->reference_count; i++)
		assert_true(store_path_equal(&a->references[i], &b->references[i]));
	assert_int_equal(a->signature_count, b->signature_count);
	for (size_t i = 0; i < a->signature_count; i++) {
		assert_string_equal(a->signatures[i].name, b->signatures[i].name);
		assert_memory_equal(a->signatures[i].data, b->signatures[i].data, SIGNATURE_SIZE);
	}
	assert_int_equal(a->has_deriver, b->has_deriver);
	assert_true(store_path_equal(&a->deriver, &b->deriver));
	assert_int_equal(a->has_ca, b->has_ca);
	assert_int_equal(a->other_ca != NULL, b->other_ca != NULL);
	if (a->other_ca)
		assert_string_equal(a->other_ca, b->other_ca);
	assert_memory_equal(&a->ca, &b->ca, sizeof(a->ca));
}

static void full_round_trip(void **state)
{
	AUTO_PATH_INFO struct path_info info = { 0 };
	AUTO_PATH_INFO struct path_info copy = { 0 };
	AUTO_PATH_INFO struct path_info back = { 0 };
	AUTO_BUF wire = BUF_INIT;
	struct err err = ERR_INIT;

	(void)state;
	full(&info);
	assert_ok(path_info_check(&info, &err), &err);
	path_info_copy(&copy, &info);
	path_info_encode(&info, &wire);
	path_info_release(&info);
	assert_ok(path_info_decode(buf_view(&wire), &back, &err), &err);
	assert_same(&back, &copy);
	path_info_release(&info); /* twice is fine */
}

/* No input, however cut or changed, does anything but decode or fail. */
/* A content address of another kind: kept as it came, never one that castor could have checked. */
static void other_addresses_are_kept(void **state)
{
	static const struct {
		const char *text;
		enum rc rc;
	} cases[] = {
		{ "fixed:git:sha1:mjgs6l6ngxfz9ca7i4a8gqmfaffh9ycx", RC_OK },
		{ "fixed:r:blake3:03qi2qsdnrd5vf52drwsldkjzy45kd1bvf5sp1daqad2v6chmhl6", RC_OK },
		{ "fixed:git:a b", RC_INVALID },
		{ "nonsense", RC_INVALID },
	};
	static const char known[] = "fixed:sha1:9m1skbnr5i43n3yypvda5s65vhfwdx5a";
	AUTO_FREE char *longest = mem_zalloc(OTHER_CA_MAX + 2);
	struct err err = ERR_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		AUTO_PATH_INFO struct path_info info = { 0 };
		AUTO_PATH_INFO struct path_info again = { 0 };
		AUTO_PATH_INFO struct path_info copy = { 0 };
		struct path_info bad;
		AUTO_BUF wire = BUF_INIT, text = BUF_INIT;

		full(&info);
		info.has_ca = false;
		memset(&info.ca, 0, sizeof(info.ca));
		assert_rc(cases[i].rc,
			  path_info_parse_ca(&info, view_of_string(cases[i].text), &err), &err);
		assert_int_equal(info.other_ca != NULL, cases[i].rc == RC_OK);
		if (cases[i].rc != RC_OK)
			continue;
		assert_ok(path_info_check(&info, &err), &err);
		path_info_encode(&info, &wire);
		assert_ok(path_info_decode(buf_view(&wire), &again, &err), &err);
		assert_same(&info, &again);
		path_info_copy(&copy, &again);
		assert_true(path_info_print_ca(&copy, &text));
		assert_string_equal(buf_string(&text), cases[i].text);
		/* Beside one, or instead of one, that is understood. */
		info.has_ca = true;
		assert_rc(RC_INVALID, path_info_check(&info, &err), &err);
		buf_clear(&wire);
		path_info_encode(&info, &wire);
		assert_rc(RC_INVALID, path_info_decode(buf_view(&wire), &bad, &err), &err);
		info.has_ca = false;
		free(info.other_ca);
		info.other_ca = mem_strdup(known);
		assert_rc(RC_INVALID, path_info_check(&info, &err), &err);
		buf_clear(&wire);
		path_info_encode(&info, &wire);
		assert_rc(RC_INVALID, path_info_decode(buf_view(&wire), &bad, &err), &err);
	}
	memset(longest, 'a', OTHER_CA_MAX + 1);
	memcpy(longest, "fixed:", 6);
	for (size_t len = OTHER_CA_MAX; len <= OTHER_CA_MAX + 1; len++) {
		AUTO_PATH_INFO struct path_info info = { 0 };

		assert_rc(len == OTHER_CA_MAX ? RC_OK : RC_INVALID,
			  path_info_parse_ca(&info, view_of(longest, len), &err), &err);
	}
}

static void every_cut_and_flip_is_survived(void **state)
{
	AUTO_PATH_INFO struct path_info info = { 0 };
	AUTO_BUF wire = BUF_INIT;
	size_t refused = 0;

	(void)state;
	full(&info);
	path_info_encode(&info, &wire);
	for (size_t len = 0; len < wire.len; len++) {
		AUTO_FREE uint8_t *exact = mem_dup(wire.ptr, len); /* an over-read shows in ASan */
		AUTO_PATH_INFO struct path_info out = { 0 };

		assert_int_equal(path_info_decode(view_of(exact, len), &out, NULL), RC_INVALID);
		assert_null(out.references);
		assert_null(out.signatures);
	}
	for (size_t bit = 0; bit < 8 * wire.len; bit++) {
		AUTO_PATH_INFO struct path_info out = { 0 };

		wire.ptr[bit / 8] ^= (uint8_t)(1 << bit % 8);
		if (path_info_decode(buf_view(&wire), &out, NULL) == RC_OK)
			assert_int_equal(path_info_check(&out, NULL), RC_OK);
		else
			refused++;
		wire.ptr[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_true(refused > 100);
}

/* Appends a field by number; text in hex. */
static void put(struct buf *out, uint32_t number, const char *hex)
{
	uint8_t bytes[512];
	size_t len = strlen(hex) / 2;

	assert_true(hex_decode(view_of_string(hex), bytes, len));
	wire_append_element(out, number, view_of(bytes, len));
}

/* A message with the golden node, and what the caller wants in its other parts. */
static enum rc decode_with(const struct buf *top, const struct buf *nar_info, struct path_info *out,
			   struct err *err)
{
	AUTO_BUF wire = BUF_INIT;

	golden_bytes(&wire);
	wire.len = 0x52; /* the node alone */
	if (top)
		buf_append_view(&wire, buf_view(top));
	if (nar_info)
		wire_append_element(&wire, 3, buf_view(nar_info));
	return path_info_decode(buf_view(&wire), out, err);
}

static void expect(const struct buf *top, const struct buf *nar_info, const char *sentence)
{
	AUTO_PATH_INFO struct path_info out = { 0 };
	struct err err = ERR_INIT;
	enum rc rc = decode_with(top, nar_info, &out, &err);

	if (!sentence) {
		assert_ok(rc, &err);
		return;
	}
	assert_int_equal(rc, RC_INVALID);
	if (!strstr(err.message, sentence))
		fail_msg("\"%s\" says nothing of \"%s\"", err.message, sentence);
}

static void minimal(struct buf *out)
{
	buf_clear(out);
	wire_append_u64(out, 1, 120);
	put(out, 2, "0101010101010101010101010101010101010101010101010101010101010101");
}

static void refuses_bad_nar_infos(void **state)
{
	AUTO_BUF info = BUF_INIT;
	AUTO_BUF element = BUF_INIT;

	(void)state;
	minimal(&info);
	expect(NULL, &info, NULL);
	expect(NULL, NULL, "narinfo is missing");

	buf_clear(&info);
	expect(NULL, &info, "nar_sha256 has 0 bytes");
	put(&info, 2, "01");
	expect(NULL, &info, "nar_sha256 has 1 bytes");
	minimal(&info);
	wire_append_u64(&info, 1, 3);
	expect(NULL, &info, "nar_size comes twice");
	minimal(&info);
	put(&info, 1, "");
	expect(NULL, &info, "nar_size");

	minimal(&info);
	wire_append_u64(&info, 9, 3); /* unknown fields are skipped */
	put(&info, 100, "1234");
	expect(NULL, &info, NULL);

	minimal(&info);
	put(&info, 3, "0a0161"); /* a signature without data */
	expect(NULL, &info, "signatures[0]: Signature.data has 0 bytes");
	minimal(&info);
	wire_append_bytes(&element, 1, view_of_string("a b"));
	put(&element, 2,
	    "00000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
	    "0000000000000000000000000000000000000000000000000000000000000000000000000000000000");
	wire_append_element(&info, 3, buf_view(&element));
	expect(NULL, &info, "byte 0x20");

	minimal(&info);
	put(&info, 6, "0809"); /* CA of type 9 */
	expect(NULL, &info, "CA.type is 9");
	minimal(&info);
	put(&info, 6, "08011202abcd"); /* SHA-1 of two bytes */
	expect(NULL, &info, "CA.digest has 2 bytes instead of 20");
	minimal(&info);
	put(&info, 5, "0a0161");
	expect(NULL, &info, "StorePath.digest has 0 bytes");
	minimal(&info);
	put(&info, 5, "0a012f12140000000000000000000000000000000000000000");
	expect(NULL, &info, "byte 0x2f");
}

static void references_and_names_must_agree(void **state)
{
	AUTO_BUF top = BUF_INIT;
	AUTO_BUF info = BUF_INIT;

	(void)state;
	put(&top, 2, "0000000000000000000000000000000000000000");
	minimal(&info);
	expect(&top, &info, "1 references, but 0 names");
	wire_append_element(&info, 4, view_of_string("00000000000000000000000000000000-a"));
	expect(&top, &info, NULL);
	expect(NULL, &info, "0 references, but 1 names");
	minimal(&info);
	wire_append_element(&info, 4, view_of_string("10000000000000000000000000000000-a"));
	expect(&top, &info, "not the reference at the same place");
	minimal(&info);
	wire_append_element(&info, 4, view_of_string("a"));
	expect(&top, &info, "reference_names[0]: not a store path");
	buf_clear(&top);
	put(&top, 2, "00000000000000000000000000000000000000");
	minimal(&info);
	wire_append_element(&info, 4, view_of_string("00000000000000000000000000000000-a"));
	expect(&top, &info, "references has 19 bytes");
	buf_clear(&top);
	wire_append_u64(&top, 2, 1);
	expect(&top, &info, "another wire type");
}

/* The other copy command keeps ".drv" in the deriver's name, the other import does not. */
static void deriver_loses_one_ending(void **state)
{
	static const struct {
		const char *sent, *kept;
	} names[] = { { "hello", "hello" },
		      { "hello.drv", "hello" },
		      { "hello.drv.drv", "hello.drv" },
		      { ".drv", ".drv" } };

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		AUTO_BUF info = BUF_INIT;
		AUTO_BUF deriver = BUF_INIT;
		AUTO_PATH_INFO struct path_info out = { 0 };
		struct err err = ERR_INIT;

		minimal(&info);
		wire_append_bytes(&deriver, 1, view_of_string(names[i].sent));
		put(&deriver, 2, "0000000000000000000000000000000000000000");
		wire_append_element(&info, 5, buf_view(&deriver));
		assert_ok(decode_with(NULL, &info, &out, &err), &err);
		assert_true(out.has_deriver);
		assert_string_equal(out.deriver.name, names[i].kept);
	}
}

static void counts_have_limits(void **state)
{
	AUTO_BUF top = BUF_INIT;
	AUTO_BUF info = BUF_INIT;

	(void)state;
	for (size_t i = 0; i <= PATH_INFO_REFERENCES_MAX; i++)
		put(&top, 2, "");
	minimal(&info);
	expect(&top, &info, "65537 references, more than 65536");
	for (size_t i = 0; i <= PATH_INFO_SIGNATURES_MAX; i++)
		put(&info, 3, "");
	expect(NULL, &info, "257 signatures, more than 256");
}

static void root_name_must_be_a_store_path(void **state)
{
	AUTO_BUF wire = BUF_INIT;
	AUTO_BUF info = BUF_INIT;
	struct path_info out;
	struct err err = ERR_INIT;

	(void)state;
	put(&wire, 1, "1a060a01611201780a"); /* malformed */
	minimal(&info);
	wire_append_element(&wire, 3, buf_view(&info));
	assert_int_equal(path_info_decode(buf_view(&wire), &out, &err), RC_INVALID);
	buf_clear(&wire);
	put(&wire, 1, "1a060a0161120178"); /* a symlink named a */
	wire_append_element(&wire, 3, buf_view(&info));
	assert_int_equal(path_info_decode(buf_view(&wire), &out, &err), RC_INVALID);
	assert_non_null(strstr(err.message, "PathInfo.node: not a store path"));
	buf_clear(&wire);
	wire_append_element(&wire, 3, buf_view(&info));
	assert_int_equal(path_info_decode(buf_view(&wire), &out, &err), RC_INVALID);
	assert_non_null(strstr(err.message, "node is missing"));
}

/* What a program filled in wrongly. */
static void check_finds_mistakes(void **state)
{
	(void)state;
	for (int mistake = 0; mistake < 8; mistake++) {
		AUTO_PATH_INFO struct path_info info = { 0 };

		full(&info);
		switch (mistake) {
		case 0:
			info.path.name[0] = '/';
			break;
		case 1:
			info.path.hash[0] ^= 1; /* the node's name is another */
			break;
		case 2:
			info.references[2].name[0] = '\0';
			break;
		case 3:
			info.signatures[0].name[0] = '\n';
			break;
		case 4:
			memset(info.deriver.name, 'x', sizeof(info.deriver.name)); /* no NUL */
			break;
		case 5:
			info.ca.kind = CA_KIND_COUNT_;
			break;
		case 6:
			info.node.target.len = 0;
			break;
		case 7:
			info.signatures[0].name[0] = '\0';
			break;
		}
		assert_int_equal(path_info_check(&info, NULL), RC_INVALID);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_and_writes_golden_bytes),
		cmocka_unit_test(full_round_trip),
		cmocka_unit_test(other_addresses_are_kept),
		cmocka_unit_test(every_cut_and_flip_is_survived),
		cmocka_unit_test(refuses_bad_nar_infos),
		cmocka_unit_test(references_and_names_must_agree),
		cmocka_unit_test(deriver_loses_one_ending),
		cmocka_unit_test(counts_have_limits),
		cmocka_unit_test(root_name_must_be_a_store_path),
		cmocka_unit_test(check_finds_mistakes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
