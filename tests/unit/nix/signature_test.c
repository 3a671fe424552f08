/* Keys and signatures: RFC 8032's vectors, those of the golden narinfos, and what must be refused. */
#include "nix/signature.h"

#include "unit/testing.h"

#define GOLDEN_KEY "castor-test-1:km3lxkIL8YarFySHEVUCVTqPTHtUPaqGo8qS6Lu7aSE="
#define HELLO_SIG                                                                                  \
	"castor-test-1:y8cpkIR/O6zGAuObc5LANCFEx1jR2JQgIh1dzFWl/"                                  \
	"ngka1bRdRYxM6XCPl1rJ2oMm67sV68fE/RAMawxJ5/HDw=="
#define HELLO_FINGERPRINT                                                                          \
	"1;/nix/store/gwina1sjk7g95wq6fxc6b7s1hza53h74-hello;sha256:"                              \
	"04zwf782yjwnh3q6hz5izfd6jyip8kgw6g6yj43fiqhbyhdd0dqw;120;"

static struct store_path path_of(const char *text)
{
	struct err err = ERR_INIT;
	struct store_path path;

	assert_ok(store_path_parse(view_of_string(text), &path, &err), &err);
	return path;
}

static struct nar_hash hash_of(const char *text)
{
	struct err err = ERR_INIT;
	struct nar_hash hash;

	assert_ok(nar_hash_parse(view_of_string(text), &hash, &err), &err);
	return hash;
}

static struct public_key key_of(const char *text)
{
	struct err err = ERR_INIT;
	struct public_key key;

	assert_ok(public_key_parse(view_of_string(text), &key, &err), &err);
	return key;
}

static struct signature signature_of(const char *text)
{
	struct err err = ERR_INIT;
	struct signature signature;

	assert_ok(signature_parse(view_of_string(text), &signature, &err), &err);
	return signature;
}

static void fingerprints(void **state)
{
	struct store_path hello = path_of("gwina1sjk7g95wq6fxc6b7s1hza53h74-hello");
	struct store_path note = path_of("az9l0xsrkblh1qsaa40xrnvq34x4n45q-note");
	struct store_path references[3] = { hello, note, hello };
	struct nar_hash hash =
		hash_of("sha256:04zwf782yjwnh3q6hz5izfd6jyip8kgw6g6yj43fiqhbyhdd0dqw");
	CLEANUP(buf_release) struct buf text = BUF_INIT;

	(void)state;
	fingerprint(&hello, &hash, 120, NULL, 0, &text);
	assert_string_equal(buf_string(&text), HELLO_FINGERPRINT);
	buf_clear(&text);
	fingerprint(&hello, &hash, UINT64_MAX, references, 3, &text);
	assert_string_equal(buf_string(&text),
			    "1;/nix/store/gwina1sjk7g95wq6fxc6b7s1hza53h74-hello;sha256:"
			    "04zwf782yjwnh3q6hz5izfd6jyip8kgw6g6yj43fiqhbyhdd0dqw;"
			    "18446744073709551615;"
			    "/nix/store/az9l0xsrkblh1qsaa40xrnvq34x4n45q-note,"
			    "/nix/store/gwina1sjk7g95wq6fxc6b7s1hza53h74-hello");
}

static void golden_signature(void **state)
{
	struct public_key key = key_of(GOLDEN_KEY);
	struct signature signature = signature_of(HELLO_SIG);
	CLEANUP(buf_release) struct buf text = BUF_INIT;
	struct view message = view_of_string(HELLO_FINGERPRINT);

	(void)state;
	assert_true(signature_verify(&key, &signature, message));
	message.len--;
	assert_false(signature_verify(&key, &signature, message));
	message.len++;
	for (size_t bit = 0; bit < 8 * SIGNATURE_SIZE; bit += 7) {
		signature.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_false(signature_verify(&key, &signature, message));
		signature.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	signature_print(&signature, &text);
	assert_string_equal(buf_string(&text), HELLO_SIG);
	buf_clear(&text);
	public_key_print(&key, &text);
	assert_string_equal(buf_string(&text), GOLDEN_KEY);
	signature_release(&signature);
}

/* RFC 8032, 7.1, TEST 1 and 2. */
static void rfc_vectors(void **state)
{
	static const struct {
		const char *secret, *public, *message, *signature;
	} vectors[] = {
		{ "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
		  "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
		  "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bac"
		  "c61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b" },
		{ "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
		  "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
		  "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e"
		  "458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
		struct secret_key secret = { .name = "rfc" };
		struct public_key public;
		struct signature signature;
		uint8_t expected[SIGNATURE_SIZE], message[1];
		size_t len = strlen(vectors[i].message) / 2;
		struct err err = ERR_INIT;

		assert_true(hex_decode(view_of_string(vectors[i].secret), secret.data, 32));
		assert_true(hex_decode(view_of_string(vectors[i].public), secret.data + 32, 32));
		assert_true(hex_decode(view_of_string(vectors[i].message), message, len));
		assert_true(hex_decode(view_of_string(vectors[i].signature), expected, 64));
		assert_ok(signature_make(&secret, view_of(message, len), &signature, &err), &err);
		assert_string_equal(signature.name, "rfc");
		assert_memory_equal(signature.data, expected, SIGNATURE_SIZE);
		secret_key_public(&secret, &public);
		assert_true(signature_verify(&public, &signature, view_of(message, len)));
		signature_release(&signature);
	}
}

static void new_keys_work(void **state)
{
	struct secret_key secret, back, other;
	struct public_key public;
	struct signature signature;
	CLEANUP(buf_release) struct buf text = BUF_INIT;
	struct err err = ERR_INIT;

	(void)state;
	assert_ok(secret_key_generate(view_of_string("my-key-1"), &secret, &err), &err);
	assert_ok(secret_key_generate(view_of_string("my-key-1"), &other, &err), &err);
	assert_memory_not_equal(secret.data, other.data, SECRET_KEY_SIZE);
	assert_rc(RC_INVALID, secret_key_generate(view_of_string("a:b"), &other, &err), &err);

	/* As a file has it. */
	secret_key_print(&secret, &text);
	buf_append_string(&text, "\n");
	assert_ok(secret_key_parse(buf_view(&text), &back, &err), &err);
	assert_memory_equal(&secret, &back, sizeof(secret));

	secret_key_public(&back, &public);
	assert_ok(signature_make(&back, view_of_string("text"), &signature, &err), &err);
	assert_true(signature_verify(&public, &signature, view_of_string("text")));
	signature_release(&signature);
	secret_key_wipe(&secret);
	assert_int_equal(secret.data[0] | secret.data[31] | secret.name[0], 0);
}

static void refuses_bad_text(void **state)
{
	static const struct {
		const char *text, *sentence;
	} keys[] = {
		{ "", "no colon" },
		{ "name", "no colon" },
		{ ":km3lxkIL8YarFySHEVUCVTqPTHtUPaqGo8qS6Lu7aSE=", "0 bytes" },
		{ "a b:km3lxkIL8YarFySHEVUCVTqPTHtUPaqGo8qS6Lu7aSE=", "byte 0x20" },
		{ "a\xc3\xa9:km3lxkIL8YarFySHEVUCVTqPTHtUPaqGo8qS6Lu7aSE=", "byte 0xc3" },
		{ "k:", "\"k\" is not 32 bytes" },
		{ "k:km3lxkIL8YarFySHEVUCVTqPTHtUPaqGo8qS6Lu7aSE", "not 32 bytes" },
		{ "k:km3lxkIL8YarFySHEVUCVTqPTHtUPaqGo8qS6Lu7aS==", "not 32 bytes" },
		{ "k:km3lxkIL8YarFySHEVUCVTqPTHtUPaqGo8qS6Lu7aSF=", "not 32 bytes" },
		{ "k:km3lxkIL8YarFySHEVUCVTqPTHtUPaqGo8qS6Lu7a-E=", "not 32 bytes" },
		{ "k: km3lxkIL8YarFySHEVUCVTqPTHtUPaqGo8qS6Lu7aSE=", "not 32 bytes" },
		{ "k:a:km3lxkIL8YarFySHEVUCVTqPTHtUPaqGo8qS6Lu7aSE=", "not 32 bytes" },
	};
	struct secret_key secret;
	struct signature signature;
	struct public_key key;
	struct err err = ERR_INIT;
	CLEANUP(buf_release) struct buf text = BUF_INIT;
	char name[300];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		assert_rc(RC_INVALID, public_key_parse(view_of_string(keys[i].text), &key, &err),
			  &err);
		assert_says(&err, keys[i].sentence);
		assert_int_equal(key.name[0], '\0');
	}
	memset(name, 'n', sizeof(name));
	assert_ok(signature_check_name(view_of(name, 255), &err), &err);
	assert_rc(RC_INVALID, signature_check_name(view_of(name, 256), &err), &err);

	/* A public key is no signature; a signature with a blank at its end is none either. */
	assert_rc(RC_INVALID, signature_parse(view_of_string(GOLDEN_KEY), &signature, &err), &err);
	assert_rc(RC_INVALID, signature_parse(view_of_string(HELLO_SIG " "), &signature, &err),
		  &err);
	assert_null(signature.name);

	/* Halves of two keys. */
	assert_ok(secret_key_generate(view_of_string("k"), &secret, &err), &err);
	secret.data[40] ^= 1;
	secret_key_print(&secret, &text);
	assert_rc(RC_INVALID, secret_key_parse(buf_view(&text), &secret, &err), &err);
	assert_says(&err, "do not belong together");
	assert_int_equal(secret.data[0], 0);
}

static void lists_of_keys(void **state)
{
	struct public_key *keys = NULL;
	size_t count = 0;
	struct err err = ERR_INIT;

	(void)state;
	assert_ok(public_keys_parse(view_of_string(" \n "), &keys, &count, &err), &err);
	assert_int_equal(count, 0);
	assert_ok(
		public_keys_parse(view_of_string(GOLDEN_KEY "  b:km3lxkIL8YarFySHEVUCVTqPTHtUPaqGo8"
							    "qS6Lu7aSE=\n"),
				  &keys, &count, &err),
		&err);
	assert_ok(public_keys_parse(view_of_string(GOLDEN_KEY), &keys, &count, &err), &err);
	assert_int_equal(count, 3);
	assert_string_equal(keys[0].name, "castor-test-1");
	assert_string_equal(keys[1].name, "b");
	assert_rc(RC_INVALID, public_keys_parse(view_of_string("a:b c"), &keys, &count, &err),
		  &err);
	free(keys);
}

/* One good signature of one trusted key is enough; the name must be exactly the key's. */
static void one_trusted_signature_suffices(void **state)
{
	struct public_key keys[3] = { key_of(GOLDEN_KEY), key_of(GOLDEN_KEY), key_of(GOLDEN_KEY) };
	struct signature signatures[3] = { signature_of(HELLO_SIG), signature_of(HELLO_SIG),
					   signature_of(HELLO_SIG) };
	struct view message = view_of_string(HELLO_FINGERPRINT);

	(void)state;
	strcpy(keys[0].name, "castor-test-2"); /* the right key, of another name */
	keys[1].data[5] ^= 1;                  /* the right name of another key */
	signatures[0].data[0] ^= 1;
	signatures[1].name[0] = 'C';
	assert_ptr_equal(signatures_find(signatures, 3, keys, 3, message), &keys[2]);
	assert_null(signatures_find(signatures, 2, keys, 3, message));
	assert_null(signatures_find(signatures, 3, keys, 2, message));
	assert_null(signatures_find(NULL, 0, keys, 3, message));
	assert_null(signatures_find(signatures, 3, NULL, 0, message));
	for (size_t i = 0; i < 3; i++)
		signature_release(&signatures[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fingerprints),
		cmocka_unit_test(golden_signature),
		cmocka_unit_test(rfc_vectors),
		cmocka_unit_test(new_keys_work),
		cmocka_unit_test(refuses_bad_text),
		cmocka_unit_test(lists_of_keys),
		cmocka_unit_test(one_trusted_signature_suffices),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
