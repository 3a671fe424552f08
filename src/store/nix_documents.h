/* What lies beside the store paths of a Nix binary cache, read only. */
#ifndef CASTOR_STORE_NIX_DOCUMENTS_H
#define CASTOR_STORE_NIX_DOCUMENTS_H

#include "service/document/document_store.h"
#include "service/path_info/path_info_service.h"
#include "store/nix_fetch.h"

/* Of the cache that the service is: takes a reference on that, and borrows the cache from it. */
struct document_store *nix_documents_new(struct path_info_service *service,
					 struct nix_cache *cache);

#endif
