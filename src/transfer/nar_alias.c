#include "transfer/nar_alias.h"

#include <string.h>

#include "nix/nixbase32.h"

enum rc nar_alias_expect(struct document_store *documents, const struct op *op, struct view url,
			 struct err *err)
{
	struct buf known CLEANUP(buf_release) = BUF_INIT;
	enum rc rc = document_store_get(documents, op, url, &known, err);

	return rc == RC_NOT_FOUND ? document_store_put(documents, op, url, view_of("", 0), err)
				  : rc;
}

enum rc nar_alias_published(struct document_store *documents, const struct op *op, struct view url,
			    const uint8_t hash[STORE_PATH_HASH_SIZE], struct err *err)
{
	struct buf known CLEANUP(buf_release) = BUF_INIT;
	char text[STORE_PATH_HASH_CHARS + 1];
	enum rc rc = documents ? document_store_get(documents, op, url, &known, err) : RC_NOT_FOUND;

	nixbase32_encode(hash, STORE_PATH_HASH_SIZE, text);
	if (rc != RC_OK || view_equal_string(buf_view(&known), text))
		return rc == RC_NOT_FOUND ? RC_OK : rc;
	return document_store_put(documents, op, url, view_of_string(text), err);
}

enum rc nar_alias_get(struct document_store *documents, const struct op *op, struct view url,
		      char hash[STORE_PATH_HASH_CHARS + 1], struct err *err)
{
	struct buf known CLEANUP(buf_release) = BUF_INIT;
	uint8_t bytes[STORE_PATH_HASH_SIZE];
	enum rc rc = document_store_get(documents, op, url, &known, err);

	hash[0] = '\0';
	if (rc != RC_OK)
		return rc;
	if (known.len != STORE_PATH_HASH_CHARS ||
	    !nixbase32_decode(buf_view(&known), bytes, sizeof(bytes)))
		return err_set(err, RC_NOT_FOUND, "that NAR was not published yet");
	memcpy(hash, known.ptr, known.len);
	hash[known.len] = '\0';
	return RC_OK;
}
