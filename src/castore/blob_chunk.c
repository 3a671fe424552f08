#include "castore/blob_chunk.h"

#include <stdlib.h>

void blob_chunk_list_release(struct blob_chunk_list *list)
{
	free(list->chunks);
	*list = (struct blob_chunk_list){ 0 };
}
