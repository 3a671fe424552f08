/* Signatures, keys and hashes of NARs as text: what parses is printed such that it parses to the same
 * again, and no half of what does not is left. */
#include "fuzz/fuzz.h"

#include <string.h>

#include "base/mem.h"
#include "nix/signature.h"

static void check_signature(struct view text)
{
	CLEANUP(buf_release) struct buf printed = BUF_INIT;
	struct signature signature;
	struct err err = ERR_INIT;
	enum rc rc = signature_parse(text, &signature, &err);

	FUZZ_CHECK((rc == RC_OK) == (signature.name != NULL));
	if (rc == RC_OK) {
		FUZZ_CHECK(signature_check_name(view_of_string(signature.name), NULL) == RC_OK);
		signature_print(&signature, &printed);
		FUZZ_CHECK(view_equal(buf_view(&printed), text));
	} else {
		FUZZ_CHECK(rc == RC_INVALID && err.message[0]);
	}
	signature_release(&signature);
}

static void check_public_keys(struct view text)
{
	CLEANUP(buf_release) struct buf printed = BUF_INIT;
	AUTO_FREE struct public_key *keys = NULL;
	AUTO_FREE struct public_key *again = NULL;
	size_t count = 0, again_count = 0;
	enum rc rc = public_keys_parse(text, &keys, &count, NULL);

	FUZZ_CHECK(rc == RC_OK || rc == RC_INVALID || rc == RC_TOO_LARGE);
	FUZZ_CHECK(count <= PUBLIC_KEYS_MAX);
	for (size_t i = 0; i < count; i++) {
		public_key_print(&keys[i], &printed);
		buf_append_byte(&printed, '\n');
	}
	FUZZ_CHECK(public_keys_parse(buf_view(&printed), &again, &again_count, NULL) == RC_OK);
	FUZZ_CHECK(again_count == count);
	for (size_t i = 0; i < count; i++)
		FUZZ_CHECK(memcmp(&keys[i], &again[i], sizeof(keys[i])) == 0);
}

static void check_secret_key(struct view text)
{
	CLEANUP(buf_release) struct buf printed = BUF_INIT;
	struct secret_key key, again;
	struct public_key public;
	struct signature signature;
	enum rc rc = secret_key_parse(text, &key, NULL);

	if (rc != RC_OK) {
		static const struct secret_key wiped;

		FUZZ_CHECK(rc == RC_INVALID);
		FUZZ_CHECK(memcmp(&key, &wiped, sizeof(key)) == 0);
		return;
	}
	secret_key_print(&key, &printed);
	FUZZ_CHECK(secret_key_parse(buf_view(&printed), &again, NULL) == RC_OK);
	FUZZ_CHECK(memcmp(&key, &again, sizeof(key)) == 0);
	secret_key_public(&key, &public);
	FUZZ_CHECK(signature_make(&key, text, &signature, NULL) == RC_OK);
	FUZZ_CHECK(signature_verify(&public, &signature, text));
	signature_release(&signature);
}

static void check_nar_hash(struct view text)
{
	CLEANUP(buf_release) struct buf printed = BUF_INIT;
	struct nar_hash hash, again;
	struct err err = ERR_INIT;

	if (nar_hash_parse(text, &hash, &err) != RC_OK) {
		FUZZ_CHECK(err.message[0]);
		return;
	}
	nar_hash_print(&hash, &printed);
	FUZZ_CHECK(nar_hash_parse(buf_view(&printed), &again, &err) == RC_OK);
	FUZZ_CHECK(memcmp(&hash, &again, sizeof(hash)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct view text = view_of(bytes, len);

	check_signature(text);
	check_public_keys(text);
	check_secret_key(text);
	check_nar_hash(text);
	return 0;
}
