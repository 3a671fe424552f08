/* Every backend, a line each. */
#include "conformance/conformance.h"

#include "service/blob/files.h"
#include "service/blob/memory.h"
#include "service/directory/memory.h"
#include "service/path_info/memory.h"

static enum rc open_memory(const char *dir, struct services *out, struct err *err)
{
	(void)dir;
	(void)err;
	*out = (struct services){
		.blobs = blob_memory_new(),
		.directories = directory_memory_new(),
		.path_infos = path_info_memory_new(),
		.nar_facts = nar_facts_memory_new(),
	};
	return RC_OK;
}

static enum rc open_files(const char *dir, struct services *out, struct err *err)
{
	return blob_files_open(dir, &out->blobs, err);
}

const struct backend backends[] = {
	{ "memory", .persistent = false, open_memory },
	{ "files", .persistent = true, open_files },
};
const size_t backend_count = ARRAY_LEN(backends);
