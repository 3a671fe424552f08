/*
 * Uploads to a binary cache come in two requests: first the NAR, then the narinfo that says what it is.
 * In between the NAR is a pending upload: its content is stored, and a record says under which URL it
 * came. Records live in the scratch store, so that all processes of a store share them, and expire.
 */
#ifndef CASTOR_TRANSFER_PENDING_UPLOAD_H
#define CASTOR_TRANSFER_PENDING_UPLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/op.h"
#include "castore/digest.h"
#include "castore/node.h"
#include "nix/store_path.h"
#include "service/path_info/nar_facts.h"
#include "service/scratch/scratch_store.h"

/* Longer ones are nobody's NAR: RC_INVALID. */
enum { PENDING_URL_MAX = 1024 };

struct pending_upload {
	int64_t expires_ns;   /* CLOCK_REALTIME */
	bool published;       /* some narinfo named it: it may name it again, but it is no burden */
	struct digest client; /* of whatever tells clients apart */
	struct nar_facts facts;
	uint64_t file_size; /* as it was uploaded, compressed */
	struct nar_hash file_sha256;
	struct node root; /* owned; its name is empty */
};

void pending_upload_release(struct pending_upload *pending);
#define AUTO_PENDING_UPLOAD CLEANUP(pending_upload_release)

/* A record of the table; its key is digest_of the URL. */
void pending_upload_encode(const struct pending_upload *pending, struct buf *out);
/* RC_CORRUPT. */
enum rc pending_upload_decode(struct view bytes, struct pending_upload *out,
			      struct err *err) MUST_USE;

/* Replaces an earlier one of that URL ("nar/….nar.xz"). */
enum rc pending_upload_put(struct scratch_store *scratch, const struct op *op, struct view url,
			   const struct pending_upload *pending, struct err *err) MUST_USE;
/* RC_NOT_FOUND also for one that has expired. */
enum rc pending_upload_get(struct scratch_store *scratch, const struct op *op, struct view url,
			   struct pending_upload *out, struct err *err) MUST_USE;
/* It was asked about, or used, and so it waits for keep_ns from now on: put again, if that makes enough of
 * a difference, or if `published` is news. */
enum rc pending_upload_renew(struct scratch_store *scratch, const struct op *op,
			     const struct digest *key, struct pending_upload *pending,
			     bool published, int64_t keep_ns, struct err *err) MUST_USE;
/* Any with that NAR, under whatever URL. RC_NOT_FOUND. */
enum rc pending_upload_find(struct scratch_store *scratch, const struct op *op,
			    const struct nar_hash *nar_sha256, struct pending_upload *out,
			    struct digest *key, struct err *err) MUST_USE;
/* Bytes of NARs that wait for a first narinfo: of this client (*own), and of all. What has expired stays in
 * the store until it is collected, and counts for count_ns longer; then it is forgotten. */
enum rc pending_upload_sum(struct scratch_store *scratch, const struct op *op,
			   const struct digest *client, int64_t count_ns, uint64_t *own,
			   uint64_t *all, struct err *err) MUST_USE;

#endif
