/* From an uploaded narinfo, and the NAR that was uploaded before it, to a store path that is known. */
#ifndef CASTOR_TRANSFER_NAR_PUBLISH_H
#define CASTOR_TRANSFER_NAR_PUBLISH_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/op.h"
#include "nix/path_info.h"
#include "nix/signature.h"
#include "service/services.h"

struct nar_publish_policy {
	const struct public_key *keys; /* one of them must have signed; borrowed */
	size_t key_count;              /* 0: none need have */
	const struct secret_key *sign; /* each of them signs what is published; borrowed */
	size_t sign_count;
	int64_t keep_ns; /* how long a NAR is kept for further narinfos that name it */
};

/*
 * hash is that of the request. The NAR is the pending one under the narinfo's URL, or any pending one
 * with its hash, which goes on waiting for others; or the path is here already, and the signatures are added.
 *
 * RC_INVALID: the narinfo is broken, or of another path, or does not fit its NAR (size, hashes, content
 * address). RC_NOT_PERMITTED: no key of the policy signed it. RC_EXISTS: the path is here with another
 * NAR or other references. RC_FAILED_PRECONDITION: no NAR of it was uploaded. Needs all of services.
 */
enum rc nar_publish(const struct services *services, const struct op *op,
		    const struct nar_publish_policy *policy,
		    const uint8_t hash[STORE_PATH_HASH_SIZE], struct view text,
		    struct err *err) MUST_USE;

/* Adds the signatures by the keys of the policy that sign, where they are not there already. */
enum rc nar_sign(struct path_info *info, const struct nar_publish_policy *policy,
		 struct err *err) MUST_USE;

/* Beside path_info_check_ca: that the content has the digest that its content address names, where
 * that is not the NAR's own hash. Reads the content. RC_INVALID. */
enum rc nar_check_ca(const struct services *services, const struct op *op,
		     const struct path_info *info, struct err *err) MUST_USE;

#endif
