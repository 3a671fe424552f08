/* narinfo files: those that nix wrote, those that caches in the wild write, and bad ones. */
#include "nix/narinfo.h"

#include <fcntl.h>

#include "base/file.h"
#include "unit/testing.h"

#define AUTO_BUF CLEANUP(buf_release) struct buf

static void read_golden(const char *name, struct buf *out)
{
	AUTO_FREE char *path = testing_golden(name);
	struct err err = ERR_INIT;

	assert_ok(file_read_path(AT_FDCWD, path, 1 << 20, out, &err), &err);
}

static void golden_files(void **state)
{
	static const struct {
		const char *file, *path, *url;
		uint64_t size;
		size_t references;
		enum ca_kind ca;
	} golden[] = {
		{ "gwina1sjk7g95wq6fxc6b7s1hza53h74.narinfo",
		  "gwina1sjk7g95wq6fxc6b7s1hza53h74-hello",
		  "nar/04zwf782yjwnh3q6hz5izfd6jyip8kgw6g6yj43fiqhbyhdd0dqw.nar", 120, 0,
		  CA_NAR_SHA256 },
		{ "az9l0xsrkblh1qsaa40xrnvq34x4n45q.narinfo",
		  "az9l0xsrkblh1qsaa40xrnvq34x4n45q-note",
		  "nar/1awh0qwwpm1x2vyl2963d46sad3fwvc4wgbhbz7vn3w4hzvr4i4i.nar", 168, 1,
		  CA_TEXT_SHA256 },
	};
	struct public_key key;
	struct err err = ERR_INIT;

	(void)state;
	assert_ok(public_key_parse(
			  view_of_string(
				  "castor-test-1:km3lxkIL8YarFySHEVUCVTqPTHtUPaqGo8qS6Lu7aSE="),
			  &key, &err),
		  &err);
	for (size_t i = 0; i < ARRAY_LEN(golden); i++) {
		AUTO_BUF text = BUF_INIT;
		AUTO_BUF again = BUF_INIT;
		AUTO_BUF covered = BUF_INIT;
		AUTO_NARINFO struct narinfo narinfo = { 0 };
		char basename[STORE_PATH_BASENAME_MAX + 1];

		read_golden(golden[i].file, &text);
		assert_ok(narinfo_parse(buf_view(&text), &narinfo, &err), &err);
		store_path_basename(&narinfo.info.path, basename);
		assert_string_equal(basename, golden[i].path);
		assert_string_equal(narinfo.url, golden[i].url);
		assert_string_equal(narinfo.compression, "none");
		assert_true(narinfo.has_file_hash && narinfo.has_file_size);
		assert_int_equal(narinfo.file_size, golden[i].size);
		assert_int_equal(narinfo.info.nar_size, golden[i].size);
		assert_memory_equal(&narinfo.file_sha256, &narinfo.info.nar_sha256, 32);
		assert_int_equal(narinfo.info.reference_count, golden[i].references);
		assert_false(narinfo.info.has_deriver);
		assert_null(narinfo.system);
		assert_int_equal(narinfo.info.ca.kind, golden[i].ca);
		assert_ok(path_info_check_ca(&narinfo.info, &err), &err);

		path_info_fingerprint(&narinfo.info, &covered);
		assert_ptr_equal(signatures_find(narinfo.info.signatures,
						 narinfo.info.signature_count, &key, 1,
						 buf_view(&covered)),
				 &key);
		narinfo_print(&narinfo, &again);
		assert_string_equal(buf_string(&again), buf_string(&text));
	}
}

#define HASH52          "04zwf782yjwnh3q6hz5izfd6jyip8kgw6g6yj43fiqhbyhdd0dqw"
#define STORE_PATH_LINE "StorePath: /nix/store/gwina1sjk7g95wq6fxc6b7s1hza53h74-hello\n"
#define URL_LINE        "URL: nar/x.nar.xz\n"
#define HASH_LINE       "NarHash: sha256:" HASH52 "\n"
#define SIZE_LINE       "NarSize: 120\n"
#define LEAST           STORE_PATH_LINE URL_LINE HASH_LINE SIZE_LINE
#define SIG                                                                                        \
	"y8cpkIR/O6zGAuObc5LANCFEx1jR2JQgIh1dzFWl/ngka1bRdRYxM6XCPl1rJ2oMm67sV68fE/RAMawxJ5/HDw=="
#define ZEROS "00000000000000000000000000000000"

static void parse(const char *text, struct narinfo *out)
{
	struct err err = ERR_INIT;

	assert_ok(narinfo_parse(view_of_string(text), out, &err), &err);
}

static void least_that_is_enough(void **state)
{
	AUTO_NARINFO struct narinfo narinfo = { 0 };
	AUTO_BUF text = BUF_INIT;

	(void)state;
	parse(LEAST, &narinfo);
	assert_string_equal(narinfo.compression, "bzip2");
	assert_false(narinfo.has_file_hash || narinfo.has_file_size || narinfo.info.has_ca);
	assert_int_equal(narinfo.info.reference_count, 0);
	narinfo_print(&narinfo, &text);
	assert_string_equal(buf_string(&text), STORE_PATH_LINE URL_LINE
			    "Compression: bzip2\n" HASH_LINE SIZE_LINE "References: \n");
}

static void every_field(void **state)
{
	static const char text[] = STORE_PATH_LINE URL_LINE
		"Compression: xz\n"
		"FileHash: sha256:" HASH52 "\n"
		"FileSize: 18446744073709551615\n" HASH_LINE SIZE_LINE "References: " ZEROS
		"-a " ZEROS "-b gwina1sjk7g95wq6fxc6b7s1hza53h74-hello\n"
		"Deriver: " ZEROS "-hello.drv\n"
		"System: x86_64-linux\n"
		"Sig: a.b-1:" SIG "\n"
		"Sig: a.b-1:" SIG "\n"
		"CA: fixed:md5:"
		"4jqlbi14cxf6wpcajbphm40hax"
		"\n";
	AUTO_NARINFO struct narinfo narinfo = { 0 };
	AUTO_BUF again = BUF_INIT;

	(void)state;
	parse(text, &narinfo);
	assert_true(narinfo.file_size == UINT64_MAX);
	assert_int_equal(narinfo.info.reference_count, 3);
	assert_int_equal(narinfo.info.signature_count, 2);
	assert_string_equal(narinfo.info.deriver.name, "hello");
	assert_string_equal(narinfo.system, "x86_64-linux");
	narinfo_print(&narinfo, &again);
	assert_string_equal(buf_string(&again), text);
}

/* What caches in the wild write: each of these is read, and written as every reader takes it. */
static void wild_spellings(void **state)
{
	static const struct {
		const char *line, *written;
	} wild[] = {
		{ "Compression: \n", "Compression: bzip2\n" },
		{ "References:\n", "References: \n" },
		{ "References: " ZEROS "-b  " ZEROS "-a " ZEROS "-b \n",
		  "References: " ZEROS "-a " ZEROS "-b\n" },
		{ "Deriver: unknown-deriver\n", NULL },
		{ "Deriver: \n", NULL },
		{ "Deriver: " ZEROS "-x.drv.drv\n", "Deriver: " ZEROS "-x.drv\n" },
		{ "Deriver: " ZEROS "-x\n", "Deriver: " ZEROS "-x.drv\n" },
		{ "Deriver: /nix/store/" ZEROS "-x.drv\n", "Deriver: " ZEROS "-x.drv\n" },
		{ "System: \n", NULL },
		{ "CA: \n", NULL },
		{ "CA: fixed:git:sha1:abc\n", "CA: fixed:git:sha1:abc\n" },
		{ "CA: fixed:r:blake3:1w0p5zxvp\n", "CA: fixed:r:blake3:1w0p5zxvp\n" },
		{ "CA: fixed:sha1:aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d\n",
		  "CA: fixed:sha1:9m1skbnr5i43n3yypvda5s65vhfwdx5a\n" },
		{ "Unknown: a\nUnknown: b\nOdd:\n", NULL },
		{ "Sig: with_underscore:" SIG "\n", "Sig: with_underscore:" SIG "\n" },
		{ "FileHash: "
		  "sha256:0cd6d1a0e4b8b1a5a5fd1f6dc4b97a0ca7fca1f12f9a20e8d3f5d83fcdd1d5d3\n",
		  "FileHash: sha256:" },
		{ "\n\n", NULL },
		{ "nonsense\n", NULL },
		{ "Key:value\n", NULL },
		{ "Sig: nonsense\n", NULL },
		{ "Sig: k:AAAA\nSig: k:" SIG "\n", "Sig: k:" SIG },
		{ "System: a b\n", NULL },
		{ "FileHash: sha1:aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d\n", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wild); i++) {
		AUTO_BUF text = BUF_INIT;
		AUTO_BUF written = BUF_INIT;
		AUTO_NARINFO struct narinfo narinfo = { 0 };
		AUTO_NARINFO struct narinfo again = { 0 };

		buf_append_string(&text, wild[i].line);
		buf_append_string(&text, LEAST);
		parse(buf_string(&text), &narinfo);
		narinfo_print(&narinfo, &written);
		if (wild[i].written && !strstr(buf_string(&written), wild[i].written))
			fail_msg("%s became\n%s", wild[i].line, buf_string(&written));
		if (!wild[i].written)
			assert_string_equal(buf_string(&written), STORE_PATH_LINE URL_LINE
					    "Compression: bzip2\n" HASH_LINE SIZE_LINE
					    "References: \n");
		parse(buf_string(&written), &again);
	}
}

static void every_spelling_of_a_hash(void **state)
{
	static const char *const hashes[] = {
		"sha256:9acd5a34fb5c7d56f13a81bb1b568181792f0a51af1d4f175a97692276b3ab2d",
		"sha256:9ACD5A34FB5C7D56F13A81BB1B568181792F0A51AF1D4F175A97692276B3AB2D",
		"sha256:0bdbndv24scpb8bly7dga452yyc1h5b1pfw17bqmczawzcs5mkcs",
		"sha256:ms1aNPtcfVbxOoG7G1aBgXkvClGvHU8XWpdpInazqy0=",
		"sha256-ms1aNPtcfVbxOoG7G1aBgXkvClGvHU8XWpdpInazqy0=",
	};
	static const char *const bad[] = {
		"",
		"sha256",
		"sha256:",
		"9acd5a34fb5c7d56f13a81bb1b568181792f0a51af1d4f175a97692276b3ab2d",
		"sha1:aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d",
		"sha256:9acd5a34fb5c7d56f13a81bb1b568181792f0a51af1d4f175a97692276b3ab2",
		"sha256:ebdbndv24scpb8bly7dga452yyc1h5b1pfw17bqmczawzcs5mkcs",
		"sha256:2bdbndv24scpb8bly7dga452yyc1h5b1pfw17bqmczawzcs5mkcs",
		"sha256-0bdbndv24scpb8bly7dga452yyc1h5b1pfw17bqmczawzcs5mkcs",
		"SHA256:0bdbndv24scpb8bly7dga452yyc1h5b1pfw17bqmczawzcs5mkcs",
	};
	struct nar_hash first, hash;
	struct err err = ERR_INIT;
	AUTO_BUF text = BUF_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(hashes); i++) {
		assert_ok(nar_hash_parse(view_of_string(hashes[i]), &hash, &err), &err);
		if (i == 0)
			first = hash;
		assert_memory_equal(&hash, &first, sizeof(hash));
	}
	nar_hash_print(&hash, &text);
	assert_string_equal(buf_string(&text), hashes[2]);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_rc(RC_INVALID, nar_hash_parse(view_of_string(bad[i]), &hash, &err), &err);
}

static void refuses(void **state)
{
	static const struct {
		const char *text, *sentence;
	} bad[] = {
		{ "", "StorePath is missing" },
		{ URL_LINE HASH_LINE SIZE_LINE, "StorePath is missing" },
		{ STORE_PATH_LINE HASH_LINE SIZE_LINE, "URL is missing" },
		{ STORE_PATH_LINE URL_LINE SIZE_LINE, "NarHash is missing" },
		{ STORE_PATH_LINE URL_LINE HASH_LINE, "NarSize is missing" },
		{ LEAST STORE_PATH_LINE, "line 5: StorePath comes twice" },
		{ LEAST "References: \nReferences: \n", "line 6: References comes twice" },
		{ LEAST "Compression: \nCompression: xz\n", "Compression comes twice" },
		{ LEAST "CA: \nCA: \n", "CA comes twice" },
		{ LEAST "Deriver: \nDeriver: \n", "Deriver comes twice" },
		{ LEAST "System: \nSystem: \n", "System comes twice" },
		{ "<html>\n", "StorePath is missing" },
		{ LEAST "System:value\n", "blank after the colon" },
		{ LEAST "References: " ZEROS "-a", "cut off" },
		{ "StorePath: gwina1sjk7g95wq6fxc6b7s1hza53h74-hello\n",
		  "StorePath: it is not in" },
		{ "StorePath: /gnu/store/gwina1sjk7g95wq6fxc6b7s1hza53h74-hello\n", "not in" },
		{ "StorePath: /nix/store/gwina1sjk7g95wq6fxc6b7s1hza53h74-hello\r\n", "0x0d" },
		{ "URL: \n", "URL: it is empty" },
		{ "URL: a b\n", "URL: it has byte 0x20" },
		{ "URL: a\x01\n", "byte 0x01" },
		{ "NarSize: 0\n", "no NAR is empty" },
		{ "NarSize: -1\n", "no number" },
		{ "NarSize: 18446744073709551616\n", "no number" },
		{ "NarSize: 12 \n", "no number" },
		{ "FileSize: x\n", "FileSize: it is no number" },
		{ "NarHash: sha1:aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d\n", "NarHash: not a" },
		{ "FileHash: " HASH52 "\n", "FileHash: not a" },
		{ "References: nonsense\n", "References: not a store path" },
		{ "References: /nix/store/" ZEROS "-a\n", "References: " },
		{ "References: " ZEROS "-a,b\n", "byte 0x2c" },
		{ "Deriver: nonsense\n", "Deriver: not a store path" },
		{ "CA: nonsense\n", "CA: " },
		{ "CA: fixed:git:a b\n", "CA: a content address with byte 0x20" },
		{ "CA: fixed:sha1:abc\n", "CA: " },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct narinfo narinfo;
		struct err err = ERR_INIT;

		assert_rc(RC_INVALID, narinfo_parse(view_of_string(bad[i].text), &narinfo, &err),
			  &err);
		assert_says(&err, "bad narinfo: ");
		assert_says(&err, bad[i].sentence);
		assert_null(narinfo.url);
		assert_null(narinfo.info.references);
		assert_null(narinfo.info.signatures);
	}
}

/* Lines with every field; all of them are right. */
static const char *const all_fields[] = {
	"StorePath: /nix/store/gwina1sjk7g95wq6fxc6b7s1hza53h74-hello",
	"URL: nar/x.nar.xz",
	"Compression: xz",
	"FileHash: sha256:" HASH52,
	"FileSize: 100",
	"NarHash: sha256:" HASH52,
	"NarSize: 120",
	"References: " ZEROS "-a " ZEROS "-b",
	"Deriver: " ZEROS "-hello.drv",
	"System: x86_64-linux",
	"Sig: a.b-1:" SIG,
	"CA: fixed:md5:4jqlbi14cxf6wpcajbphm40hax",
};

/* All of them, but line `at` ends in `end`. */
static void join_fields(size_t at, const char *end, struct buf *out)
{
	buf_clear(out);
	for (size_t i = 0; i < ARRAY_LEN(all_fields); i++)
		buf_printf(out, "%s%s", all_fields[i], i == at ? end : "\n");
}

/* Two that agree are refused as well: which one another reader takes is not ours to guess. */
static void every_field_comes_once(void **state)
{
	AUTO_BUF text = BUF_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(all_fields); i++) {
		AUTO_NARINFO struct narinfo narinfo = { 0 };
		AUTO_BUF sentence = BUF_INIT;
		struct err err = ERR_INIT;
		size_t key_len = strcspn(all_fields[i], ":");

		join_fields(SIZE_MAX, "", &text);
		buf_printf(&text, "%s\n", all_fields[i]);
		if (strncmp(all_fields[i], "Sig", key_len) == 0) {
			parse(buf_string(&text), &narinfo);
			assert_int_equal(narinfo.info.signature_count, 2);
			continue;
		}
		buf_printf(&sentence, "%.*s comes twice", (int)key_len, all_fields[i]);
		assert_rc(RC_INVALID, narinfo_parse(buf_view(&text), &narinfo, &err), &err);
		assert_says(&err, buf_string(&sentence));
	}
}

/* What spoils nothing when it is malformed. */
static bool is_skipped(const char *line)
{
	return strncmp(line, "Sig:", 4) == 0 || strncmp(line, "System:", 7) == 0 ||
	       strncmp(line, "Compression:", 12) == 0;
}

/* Of no field a carriage return, or another foreign byte at its end, becomes part of the value. */
static void other_ends_of_lines(void **state)
{
	static const char *const ends[] = { "\r\n", "\r", "\t\n", "\v\n", "\x7f\n", "\xc2\xa0\n" };
	AUTO_BUF text = BUF_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(all_fields); i++) {
		for (size_t end = 0; end <= ARRAY_LEN(ends); end++) {
			AUTO_NARINFO struct narinfo narinfo = { 0 };
			struct err err = ERR_INIT;

			join_fields(i, end < ARRAY_LEN(ends) ? ends[end] : "\1\n", &text);
			for (size_t at = 0; end == ARRAY_LEN(ends) && at < text.len; at++) {
				if (text.ptr[at] == 1)
					text.ptr[at] = '\0';
			}
			if (is_skipped(all_fields[i])) {
				assert_ok(narinfo_parse(buf_view(&text), &narinfo, &err), &err);
				assert_true(narinfo.info.signature_count == 0 || !narinfo.system ||
					    strcmp(narinfo.compression, "bzip2") == 0);
				continue;
			}
			assert_rc(RC_INVALID, narinfo_parse(buf_view(&text), &narinfo, &err), &err);
			assert_null(narinfo.url);
		}
	}
}

static struct path_info parsed(const char *text)
{
	struct narinfo narinfo = { 0 };
	struct path_info info;

	parse(text, &narinfo);
	info = narinfo.info;
	memset(&narinfo.info, 0, sizeof(narinfo.info));
	narinfo_release(&narinfo);
	return info;
}

/* Whether the key's signature of `signed_text` is one of `text`. */
static bool covers(const struct secret_key *secret, const struct public_key *key,
		   const char *signed_text, const char *text)
{
	AUTO_PATH_INFO struct path_info original = parsed(signed_text);
	AUTO_PATH_INFO struct path_info edited = parsed(text);
	AUTO_BUF message = BUF_INIT;
	struct signature signature;
	struct err err = ERR_INIT;
	bool good;

	path_info_fingerprint(&original, &message);
	assert_ok(signature_make(secret, buf_view(&message), &signature, &err), &err);
	buf_clear(&message);
	path_info_fingerprint(&edited, &message);
	good = signatures_find(&signature, 1, key, 1, buf_view(&message)) != NULL;
	signature_release(&signature);
	return good;
}

#define REST URL_LINE HASH_LINE SIZE_LINE

/* A signature stands for the path, its NAR and the set of its references, and for no other ones. */
static void signatures_cover_references(void **state)
{
	static const char text[] = STORE_PATH_LINE REST "References: " ZEROS "-a " ZEROS "-b\n";
	static const struct {
		const char *text;
		bool covered;
	} edits[] = {
		{ text, true },
		{ STORE_PATH_LINE REST "References: " ZEROS "-b " ZEROS "-a\n", true },
		{ STORE_PATH_LINE REST "References: " ZEROS "-b " ZEROS "-a " ZEROS "-b\n", true },
		{ STORE_PATH_LINE REST "References: " ZEROS "-a " ZEROS "-c\n", false },
		{ STORE_PATH_LINE REST "References: " ZEROS "-a\n", false },
		{ STORE_PATH_LINE REST "References: " ZEROS "-a " ZEROS "-b " ZEROS "-c\n", false },
		{ STORE_PATH_LINE REST "References: \n", false },
		{ STORE_PATH_LINE REST, false },
		/* A reference and the path itself, swapped. */
		{ "StorePath: /nix/store/" ZEROS "-a\n" REST
		  "References: gwina1sjk7g95wq6fxc6b7s1hza53h74-hello " ZEROS "-b\n",
		  false },
		{ STORE_PATH_LINE URL_LINE HASH_LINE "NarSize: 121\nReferences: " ZEROS "-a " ZEROS
						     "-b\n",
		  false },
	};
	struct secret_key secret, other;
	struct public_key key, other_key;
	struct err err = ERR_INIT;

	(void)state;
	assert_ok(secret_key_generate(view_of_string("k"), &secret, &err), &err);
	assert_ok(secret_key_generate(view_of_string("k"), &other, &err), &err);
	secret_key_public(&secret, &key);
	secret_key_public(&other, &other_key);
	for (size_t i = 0; i < ARRAY_LEN(edits); i++) {
		if (covers(&secret, &key, text, edits[i].text) != edits[i].covered)
			fail_msg("covered: %d: %s", !edits[i].covered, edits[i].text);
	}
	assert_false(covers(&other, &key, text, text)); /* the wrong key, of the right name */
	assert_true(covers(&other, &other_key, text, text));
	strcpy(key.name, "K"); /* the right key, of the wrong name */
	assert_false(covers(&secret, &key, text, text));
}

static void counts_have_limits(void **state)
{
	AUTO_BUF text = BUF_INIT;
	AUTO_NARINFO struct narinfo narinfo = { 0 };
	struct err err = ERR_INIT;
	size_t least;

	(void)state;
	buf_append_string(&text, LEAST "References:");
	least = text.len;
	for (size_t i = 0; i < PATH_INFO_REFERENCES_MAX; i++)
		buf_printf(&text, " %032zu-x", i);
	buf_append_byte(&text, '\n');
	assert_rc(RC_OK, narinfo_parse(buf_view(&text), &narinfo, &err), &err);
	assert_true(narinfo.info.reference_count > 10000);
	narinfo_release(&narinfo);
	text.len--;
	buf_append_string(&text, " " ZEROS "-y\n");
	assert_rc(RC_INVALID, narinfo_parse(buf_view(&text), &narinfo, &err), &err);
	assert_says(&err, "more than 65536");

	text.len = least;
	buf_append_string(&text, "\n");
	for (size_t i = 0; i < PATH_INFO_SIGNATURES_MAX; i++)
		buf_append_string(&text, "Sig: k:" SIG "\n");
	assert_ok(narinfo_parse(buf_view(&text), &narinfo, &err), &err);
	narinfo_release(&narinfo);
	buf_append_string(&text, "Sig: k:" SIG "\n");
	assert_ok(narinfo_parse(buf_view(&text), &narinfo, &err), &err);
	assert_int_equal(narinfo.info.signature_count, PATH_INFO_SIGNATURES_MAX);
}

/* Every cut of a golden file is refused, or is the file without its last lines. */
static void every_cut(void **state)
{
	AUTO_BUF text = BUF_INIT;
	size_t good = 0;

	(void)state;
	read_golden("az9l0xsrkblh1qsaa40xrnvq34x4n45q.narinfo", &text);
	for (size_t len = 0; len < text.len; len++) {
		AUTO_FREE char *exact = mem_dup(text.ptr, len);
		AUTO_NARINFO struct narinfo narinfo = { 0 };

		if (narinfo_parse(view_of(exact, len), &narinfo, NULL) == RC_OK)
			good++;
	}
	assert_true(good > 0 && good < 4); /* at ends of lines */
}

static void content_addresses_are_checked(void **state)
{
	AUTO_BUF text = BUF_INIT;
	AUTO_NARINFO struct narinfo narinfo = { 0 };
	struct err err = ERR_INIT;

	(void)state;
	read_golden("az9l0xsrkblh1qsaa40xrnvq34x4n45q.narinfo", &text);
	assert_ok(narinfo_parse(buf_view(&text), &narinfo, &err), &err);
	assert_ok(path_info_check_ca(&narinfo.info, &err), &err);
	narinfo.info.ca.digest[0] ^= 1;
	assert_rc(RC_INVALID, path_info_check_ca(&narinfo.info, &err), &err);
	narinfo.info.ca.digest[0] ^= 1;
	narinfo.info.reference_count = 0; /* the reference is part of it */
	assert_rc(RC_INVALID, path_info_check_ca(&narinfo.info, &err), &err);
	narinfo.info.has_ca = false;
	assert_ok(path_info_check_ca(&narinfo.info, &err), &err);
	narinfo_release(&narinfo);

	buf_clear(&text);
	read_golden("gwina1sjk7g95wq6fxc6b7s1hza53h74.narinfo", &text);
	assert_ok(narinfo_parse(buf_view(&text), &narinfo, &err), &err);
	narinfo.info.nar_sha256.bytes[3] ^= 1;
	assert_rc(RC_INVALID, path_info_check_ca(&narinfo.info, &err), &err);
	assert_says(&err, "not its NAR's hash");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden_files),
		cmocka_unit_test(least_that_is_enough),
		cmocka_unit_test(every_field),
		cmocka_unit_test(wild_spellings),
		cmocka_unit_test(every_spelling_of_a_hash),
		cmocka_unit_test(refuses),
		cmocka_unit_test(every_field_comes_once),
		cmocka_unit_test(other_ends_of_lines),
		cmocka_unit_test(signatures_cover_references),
		cmocka_unit_test(counts_have_limits),
		cmocka_unit_test(every_cut),
		cmocka_unit_test(content_addresses_are_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
