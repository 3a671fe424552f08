/*
 * Some sixty narinfos of one path, good and odd, with what nix says of each and what castor does: castor
 * takes what nix takes, and refuses what nix refuses of a name, a hash, a size, a signature or a place.
 *
 * With CASTOR_NARINFO_DIR set, writes them there instead, each as a file "<number>-<1 if nix takes it>":
 * the script tests/e2e/narinfo-matrix shows them to nix itself.
 */
#include "nix/narinfo.h"

#include "unit/testing.h"

#define HASH_PART "gwina1sjk7g95wq6fxc6b7s1hza53h74"
#define BASENAME  HASH_PART "-matrix-1.0"
#define HASH      "03qi2qsdnrd5vf52drwsldkjzy45kd1bvf5sp1daqad2v6chmhl6"
#define KEY       "castor-matrix-1:nyDglQrFaEc91MSEQ59cObH7cyMl1nWWWfCNBxjLQjo="
#define SIG_DATA                                                                                   \
	"w03NgByQRurp11szz/Q09yTUnq8Jj+6ZOlrqx9N35HXhgYTHX5gp56GKMMwcLuBUxjEj9tsuVHJt5LxMZr8oBg=="
#define OTHER_DATA                                                                                 \
	"x03NgByQRurp11szz/Q09yTUnq8Jj+6ZOlrqx9N35HXhgYTHX5gp56GKMMwcLuBUxjEj9tsuVHJt5LxMZr8oBg=="
#define ZEROS "00000000000000000000000000000000"

enum {
	STORE_PATH,
	URL,
	COMPRESSION,
	FILE_HASH,
	FILE_SIZE,
	NAR_HASH,
	NAR_SIZE,
	REFERENCES,
	SIGNATURE,
	LINES
};

static const char *const good[LINES] = {
	[STORE_PATH] = "StorePath: /nix/store/" BASENAME "\n",
	[URL] = "URL: nar/matrix.nar\n",
	[COMPRESSION] = "Compression: none\n",
	[FILE_HASH] = "FileHash: sha256:" HASH "\n",
	[FILE_SIZE] = "FileSize: 120\n",
	[NAR_HASH] = "NarHash: sha256:" HASH "\n",
	[NAR_SIZE] = "NarSize: 120\n",
	[REFERENCES] = "References: " BASENAME "\n",
	[SIGNATURE] = "Sig: castor-matrix-1:" SIG_DATA "\n",
};

enum verdict { REFUSED, TAKEN };

/* The good one with `text` instead of one line; LINES: behind the last. */
static const struct narinfo_case {
	unsigned line;
	const char *text;
	enum verdict nix, castor;
} cases[] = {
	{ LINES, "", TAKEN, TAKEN },

	/* Lines. */
	{ LINES, "Unknown: a\n", TAKEN, TAKEN },
	{ LINES, "Unknown: a\nUnknown: b: c\n", TAKEN, TAKEN },
	{ LINES, "Unknown:value\n", TAKEN, TAKEN },
	{ LINES, "X-\xff\xfe: \x01\x02\n", TAKEN, TAKEN },
	{ FILE_SIZE, "nonsense\nFileSize: 120\n", TAKEN, TAKEN },
	{ LINES, "nonsense\n", REFUSED, TAKEN },
	{ LINES, "\n", REFUSED, TAKEN },
	{ LINES, "Unknown: cut off", REFUSED, REFUSED },
	{ SIGNATURE, "Sig: castor-matrix-1:" SIG_DATA, REFUSED, REFUSED },
	{ LINES, "storepath: /etc\n", TAKEN, TAKEN },
	{ LINES, "System: x86_64-linux\n", TAKEN, TAKEN },
	{ LINES, "System: \n", TAKEN, TAKEN },
	{ LINES, "System: a b\tc\n", TAKEN, TAKEN },

	/* Store paths. */
	{ STORE_PATH, "", REFUSED, REFUSED },
	{ STORE_PATH, "StorePath: " BASENAME "\n", REFUSED, REFUSED },
	{ STORE_PATH, "StorePath: /gnu/store/" BASENAME "\n", REFUSED, REFUSED },
	{ STORE_PATH, "StorePath: /nix/store/" BASENAME "\r\n", REFUSED, REFUSED },
	{ STORE_PATH, "StorePath:  /nix/store/" BASENAME "\n", REFUSED, REFUSED },
	{ STORE_PATH, "StorePath: /nix/store/" BASENAME " \n", REFUSED, REFUSED },
	{ STORE_PATH, "StorePath: /nix/store/" BASENAME "/bin\n", REFUSED, REFUSED },
	{ STORE_PATH, "StorePath: /nix/store/../store/" ZEROS "\n", REFUSED, REFUSED },
	{ STORE_PATH, "StorePath: /nix/store/" ZEROS "-matrix-1.0\n", REFUSED, REFUSED },
	{ STORE_PATH, "StorePath: /nix/store/" HASH_PART "-other\n", REFUSED, REFUSED },
	{ STORE_PATH, "StorePath: /nix/store/" HASH_PART "-\n", REFUSED, REFUSED },
	{ STORE_PATH, "StorePath: /nix/store/" HASH_PART "-a*b\n", REFUSED, REFUSED },

	/* URLs. */
	{ URL, "", REFUSED, REFUSED },
	{ URL, "URL: \n", REFUSED, REFUSED },
	{ URL, "URL: nar/./matrix.nar\n", TAKEN, TAKEN },
	{ URL, "URL: nar/absent.nar\n", REFUSED, TAKEN }, /* of which castor asks the cache */

	/* Compression: the bytes tell. */
	{ COMPRESSION, "", REFUSED, TAKEN }, /* nix tries bzip2, then what the bytes say */
	{ COMPRESSION, "Compression: \n", REFUSED, TAKEN },

	/* Of the file: nobody needs it. */
	{ FILE_HASH, "", TAKEN, TAKEN },
	{ FILE_HASH, "FileHash: md5:4jqlbi14cxf6wpcajbphm40hax\n", TAKEN, TAKEN },
	{ FILE_HASH, "FileHash: md5:900150983cd24fb0d6963f7d28e17f72\n", TAKEN, TAKEN },
	{ FILE_HASH, "FileHash: sha1:aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d\n", TAKEN, TAKEN },
	{ FILE_HASH, "FileHash: sha1-qvTGHdzF6KLavt4PO0gs2a6pQ00=\n", TAKEN, TAKEN },
	{ FILE_HASH,
	  "FileHash: sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+"
	  "DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==\n",
	  TAKEN, TAKEN },
	{ FILE_HASH, "FileHash: " HASH "\n", REFUSED, REFUSED },
	{ FILE_HASH, "FileHash: sha256:abc\n", REFUSED, REFUSED },
	{ FILE_HASH, "FileHash: sha3:" HASH "\n", REFUSED, REFUSED },
	{ FILE_SIZE, "", TAKEN, TAKEN },
	{ FILE_SIZE, "FileSize: 0\n", TAKEN, TAKEN },
	{ FILE_SIZE, "FileSize: 18446744073709551615\n", TAKEN, TAKEN },
	{ FILE_SIZE, "FileSize: x\n", REFUSED, REFUSED },
	{ FILE_SIZE, "FileSize: -1\n", REFUSED, REFUSED },

	/* Of the NAR. */
	{ NAR_HASH, "", REFUSED, REFUSED },
	{ NAR_HASH, "NarHash: sha256:0pxyb4lgxxmm9vndp22pjmm4b9y6k4nwc25k9mnk3srskk89zlh0\n",
	  REFUSED, REFUSED },
	{ NAR_HASH, "NarHash: " HASH "\n", REFUSED, REFUSED },
	{ NAR_HASH, "NarHash: sha1:aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d\n", REFUSED, REFUSED },
	{ NAR_SIZE, "", REFUSED, REFUSED },
	{ NAR_SIZE, "NarSize: 0\n", REFUSED, REFUSED },
	{ NAR_SIZE, "NarSize: 121\n", REFUSED, REFUSED },
	{ NAR_SIZE, "NarSize: 120 \n", REFUSED, REFUSED },
	{ NAR_SIZE, "NarSize: 00120\n", TAKEN, TAKEN },

	/* References. */
	{ REFERENCES, "", REFUSED, REFUSED },
	{ REFERENCES, "References: \n", REFUSED, REFUSED },
	{ REFERENCES, "References:   " BASENAME "  " BASENAME " \n", TAKEN, TAKEN },
	{ REFERENCES, "References: /nix/store/" BASENAME "\n", REFUSED, REFUSED },
	{ REFERENCES, "References: " BASENAME ",\n", REFUSED, REFUSED },
	{ REFERENCES, "References: " BASENAME " nonsense\n", REFUSED, REFUSED },
	{ REFERENCES, "References: " BASENAME "\nReferences: " BASENAME "\n", REFUSED, REFUSED },

	/* Derivers. */
	{ LINES, "Deriver: unknown-deriver\n", TAKEN, TAKEN },
	{ LINES, "Deriver: " ZEROS "-matrix.drv\n", TAKEN, TAKEN },
	{ LINES, "Deriver: " ZEROS "-matrix\n", TAKEN, TAKEN },
	{ LINES, "Deriver: nonsense\n", REFUSED, REFUSED },

	/* Signatures. */
	{ SIGNATURE, "", REFUSED, REFUSED },
	{ SIGNATURE, "Sig: castor-matrix-1:" OTHER_DATA "\n", REFUSED, REFUSED },
	{ SIGNATURE, "Sig: castor-matrix-2:" SIG_DATA "\n", REFUSED, REFUSED },
	{ LINES, "Sig: castor-matrix-1:" SIG_DATA "\n", TAKEN, TAKEN },
	{ LINES, "Sig: castor-matrix-1:" OTHER_DATA "\n", TAKEN, TAKEN },
	{ LINES, "Sig: zzz:" SIG_DATA "\n", TAKEN, TAKEN },
	{ LINES, "Sig: \n", TAKEN, TAKEN },
	{ LINES, "Sig: nonsense\n", TAKEN, TAKEN },
	{ LINES, "Sig: zzz:AAAA\n", TAKEN, TAKEN },
	{ LINES, "Sig: castor-matrix-1:AAAA\n", REFUSED, TAKEN },
	{ LINES, "Sig: z/z z:" SIG_DATA "\n", TAKEN, TAKEN },
	{ LINES, "Sig: ml-dsa:1:zzz:AAAA\n", TAKEN, TAKEN },

	/* Content addresses. */
	{ LINES, "CA: \n", TAKEN, TAKEN },
	{ LINES, "CA: nonsense\n", REFUSED, REFUSED },
	/* Of a newer nix; its signature counts. */
	{ LINES, "CA: fixed:git:sha1:mjgs6l6ngxfz9ca7i4a8gqmfaffh9ycx\n", REFUSED, TAKEN },
	{ LINES, "CA: fixed:r:blake3:" HASH "\n", REFUSED, TAKEN },
	{ SIGNATURE, "CA: fixed:r:blake3:" HASH "\n", REFUSED, REFUSED },
	{ LINES, "CA: fixed:sha256:abc\n", REFUSED, REFUSED },

	/* Which of two another reader takes is not ours to guess: the one thing that nix takes and castor
	 * does not. */
	{ LINES, "NarSize: 120\n", TAKEN, REFUSED },
	{ LINES, "URL: nar/matrix.nar\n", TAKEN, REFUSED },
};

static void write_case(const struct narinfo_case *one, struct buf *out)
{
	for (unsigned line = 0; line <= LINES; line++) {
		if (line == one->line)
			buf_append_string(out, one->text);
		else if (line < LINES)
			buf_append_string(out, good[line]);
	}
}

/* As store/nix_fetch.c: what was asked for, signed, and then the NAR that was promised. */
static enum verdict judge(struct view text, struct err *err)
{
	AUTO_NARINFO struct narinfo narinfo = { 0 };
	const struct path_info *info = &narinfo.info;
	CLEANUP(buf_release) struct buf covered = BUF_INIT;
	struct store_path asked;
	struct public_key key;
	struct nar_hash hash;

	assert_ok(store_path_parse(view_of_string(BASENAME), &asked, err), err);
	assert_ok(public_key_parse(view_of_string(KEY), &key, err), err);
	assert_ok(nar_hash_parse(view_of_string("sha256:" HASH), &hash, err), err);
	if (narinfo_parse(text, &narinfo, err) != RC_OK)
		return REFUSED;
	if (memcmp(info->path.hash, asked.hash, sizeof(asked.hash)) != 0 ||
	    path_info_check_ca(info, err) != RC_OK)
		return REFUSED;
	path_info_fingerprint(info, &covered);
	if (!signatures_find(info->signatures, info->signature_count, &key, 1, buf_view(&covered)))
		return REFUSED;
	return info->nar_size == 120 && memcmp(&info->nar_sha256, &hash, sizeof(hash)) == 0
		       ? TAKEN
		       : REFUSED;
}

static void verdicts(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(buf_release) struct buf text = BUF_INIT;
		struct err err = ERR_INIT;

		write_case(&cases[i], &text);
		if (judge(buf_view(&text), &err) != cases[i].castor)
			fail_msg("%s: %s\n%s",
				 cases[i].castor == TAKEN ? "refused" : "taken, but it must not be",
				 err.message, buf_string(&text));
	}
}

static int write_all(const char *dir)
{
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(buf_release) struct buf text = BUF_INIT;
		AUTO_FREE char *path = mem_printf("%s/%zu-%d", dir, i, cases[i].nix == TAKEN);
		FILE *file = fopen(path, "w");

		write_case(&cases[i], &text);
		if (!file || fwrite(text.ptr, 1, text.len, file) != text.len || fclose(file) != 0)
			return 1;
	}
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(verdicts) };
	const char *dir = getenv("CASTOR_NARINFO_DIR");

	return dir ? write_all(dir) : cmocka_run_group_tests(tests, NULL, NULL);
}
