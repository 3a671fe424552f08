/*
 * The names under which NARs were uploaded ("nar/….nar.xz"), where something that was uploaded beside them
 * refers to one: debug information does. castor keeps no file of that name; the alias says of which store path
 * it was. A document of that name, empty until the path is published.
 */
#ifndef CASTOR_TRANSFER_NAR_ALIAS_H
#define CASTOR_TRANSFER_NAR_ALIAS_H

#include "nix/store_path.h"
#include "service/document/document_store.h"

/* Somebody will ask for that name. */
enum rc nar_alias_expect(struct document_store *documents, const struct op *op, struct view url,
			 struct err *err) MUST_USE;
/* That NAR was published, as that path: noted if somebody expects it. documents may be NULL. */
enum rc nar_alias_published(struct document_store *documents, const struct op *op, struct view url,
			    const uint8_t hash[STORE_PATH_HASH_SIZE], struct err *err) MUST_USE;
/* The hash part of the path, as text. RC_NOT_FOUND: it is not known. */
enum rc nar_alias_get(struct document_store *documents, const struct op *op, struct view url,
		      char hash[STORE_PATH_HASH_CHARS + 1], struct err *err) MUST_USE;

#endif
