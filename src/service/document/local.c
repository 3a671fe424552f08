/* The documents of an on-disk store: files beside its packs. */
#include "service/document/local.h"

#include "local/local_internal.h"

enum rc document_local_new(struct local_store *store, struct document_store **out, struct err *err)
{
	return document_files_new(store->layout.dir_fd, "documents", store->layout.dir_mode, out,
				  err);
}
