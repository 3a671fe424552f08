/*
 * A stream of directories, each with its length before it (u16, little-endian), as an upload and as
 * a download. An upload that is accepted is, read backwards, a download that is accepted.
 */
#include "fuzz/fuzz.h"

#include "base/cursor.h"
#include "castore/closure.h"

enum { DIRECTORIES_MAX = 64 };

static size_t decode_all(struct view input, struct directory *dirs[DIRECTORIES_MAX])
{
	struct cursor cursor = cursor_of(input);
	struct view message;
	size_t count = 0;
	uint16_t len;

	while (count < DIRECTORIES_MAX && cursor_u16le(&cursor, &len) &&
	       cursor_view(&cursor, len, &message))
		if (directory_decode(message, &dirs[count], NULL) == RC_OK)
			count++;
	return count;
}

static bool download(const struct digest *root, struct directory **dirs, size_t count, bool reverse)
{
	struct closure_download *closure = closure_download_new(root);
	struct err err = ERR_INIT;
	enum rc rc = RC_OK;

	for (size_t i = 0; i < count && rc == RC_OK; i++)
		rc = closure_download_add(closure, dirs[reverse ? count - 1 - i : i], &err);
	if (rc == RC_OK)
		rc = closure_download_finish(closure, &err);
	FUZZ_CHECK(rc == RC_OK || (rc == RC_CORRUPT && err.message[0]));
	closure_download_free(closure);
	return rc == RC_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct directory *dirs[DIRECTORIES_MAX];
	struct directory *added[DIRECTORIES_MAX];
	size_t count = decode_all(view_of(bytes, len), dirs);
	size_t added_count = 0;
	struct closure_upload *upload = closure_upload_new();
	struct err err = ERR_INIT;
	struct digest root;

	for (size_t i = 0; i < count; i++) {
		bool fresh;
		enum rc rc = closure_upload_add(upload, dirs[i], &fresh, &err);

		FUZZ_CHECK(rc == RC_OK || (rc == RC_INVALID && err.message[0] && !fresh));
		if (fresh)
			added[added_count++] = dirs[i];
	}
	if (closure_upload_finish(upload, &root, &err) == RC_OK)
		FUZZ_CHECK(download(&root, added, added_count, true));
	if (count)
		download(directory_digest(dirs[0]), dirs, count, false);
	closure_upload_free(upload);
	for (size_t i = 0; i < count; i++)
		directory_unref(dirs[i]);
	return 0;
}
