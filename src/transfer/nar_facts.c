/* Size and hash of the NAR of a stored node: remembered, or computed from an export. */
#include "transfer/nar.h"

#include <string.h>

#include <openssl/evp.h>

struct nar_hasher {
	EVP_MD_CTX *sha256;
	uint64_t size;
};

static enum rc hash_bytes(void *context, struct view bytes, struct err *err)
{
	struct nar_hasher *hasher = context;

	hasher->size += bytes.len;
	if (EVP_DigestUpdate(hasher->sha256, bytes.ptr, bytes.len) != 1)
		return err_set(err, RC_NO_MEMORY, "SHA-256 failed");
	return RC_OK;
}

static enum rc compute_facts(const struct services *services, const struct op *op,
			     const struct node *node, struct nar_facts *out, struct err *err)
{
	struct nar_hasher hasher = { .sha256 = EVP_MD_CTX_new() };
	enum rc rc = RC_OK;

	if (!hasher.sha256 || EVP_DigestInit_ex(hasher.sha256, EVP_sha256(), NULL) != 1)
		rc = err_set(err, RC_NO_MEMORY, "no SHA-256");
	if (rc == RC_OK)
		rc = nar_export(services, op, node, hash_bytes, &hasher, err);
	if (rc == RC_OK && EVP_DigestFinal_ex(hasher.sha256, out->nar_sha256.bytes, NULL) != 1)
		rc = err_set(err, RC_NO_MEMORY, "SHA-256 failed");
	if (rc == RC_OK)
		out->nar_size = hasher.size;
	EVP_MD_CTX_free(hasher.sha256);
	return rc;
}

enum rc nar_facts_of(const struct services *services, const struct op *op, const struct node *node,
		     struct nar_facts *out, struct err *err)
{
	enum rc rc = RC_NOT_FOUND;

	memset(out, 0, sizeof(*out));
	if (services->nar_facts)
		rc = nar_facts_store_get(services->nar_facts, op, node, out, err);
	if (rc != RC_NOT_FOUND)
		return rc;
	rc = compute_facts(services, op, node, out, err);
	if (rc == RC_OK && services->nar_facts)
		rc = nar_facts_store_put(services->nar_facts, op, node, out, err);
	if (rc != RC_OK)
		memset(out, 0, sizeof(*out));
	return rc;
}
