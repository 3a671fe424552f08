#include "transfer/nar_publish.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/mem.h"
#include "nix/modulo_hash.h"
#include "nix/narinfo.h"
#include "transfer/completeness.h"
#include "transfer/nar.h"
#include "transfer/nar_alias.h"
#include "transfer/pending_upload.h"

/* ---- Content addresses ---- */

static const EVP_MD *algorithm_of(enum ca_kind kind)
{
	switch (kind) {
	case CA_NAR_SHA1:
	case CA_FLAT_SHA1:
		return EVP_sha1();
	case CA_NAR_MD5:
	case CA_FLAT_MD5:
		return EVP_md5();
	case CA_NAR_SHA512:
	case CA_FLAT_SHA512:
		return EVP_sha512();
	default:
		return EVP_sha256();
	}
}

static bool is_of_nar(enum ca_kind kind)
{
	return kind == CA_NAR_SHA256 || kind == CA_NAR_SHA1 || kind == CA_NAR_SHA512 ||
	       kind == CA_NAR_MD5;
}

static enum rc hash_bytes(void *context, struct view bytes, struct err *err)
{
	if (EVP_DigestUpdate(context, bytes.ptr, bytes.len) != 1)
		return err_set(err, RC_NO_MEMORY, "libcrypto cannot hash");
	return RC_OK;
}

static enum rc hash_file(const struct services *services, const struct op *op,
			 const struct node *node, EVP_MD_CTX *hash, struct err *err)
{
	enum { STEP = 1 << 20 };
	struct blob_reader *reader AUTO_BLOB_READER = NULL;
	uint8_t *bytes AUTO_FREE = mem_alloc(STEP);
	uint64_t at = 0;
	size_t got = 1;
	enum rc rc;

	if (node->kind != NODE_FILE || node->executable)
		return err_set(err, RC_INVALID,
			       "a flat content address is for a file that is not executable");
	rc = blob_service_open_read(services->blobs, op, &node->digest, node->size, &reader, err);
	while (rc == RC_OK && got > 0) {
		rc = blob_reader_pread(reader, op, bytes, STEP, at, &got, err);
		if (rc == RC_OK)
			rc = hash_bytes(hash, view_of(bytes, got), err);
		at += got;
	}
	return rc;
}

static enum rc feed_modulo(void *context, struct view bytes, struct err *err)
{
	return modulo_hash_feed(context, bytes, err);
}

static enum rc hash_modulo(const struct services *services, const struct op *op,
			   const struct path_info *info, uint8_t *digest, struct err *err)
{
	struct modulo_hash *modulo = modulo_hash_new(info->path.hash);
	struct nar_hash hash;
	enum rc rc = modulo ? RC_OK : err_set(err, RC_NO_MEMORY, "no SHA-256");

	if (rc == RC_OK)
		rc = nar_export(services, op, &info->node, feed_modulo, modulo, err);
	if (rc == RC_OK)
		rc = modulo_hash_final(modulo, &hash, err);
	if (rc == RC_OK)
		memcpy(digest, hash.bytes, sizeof(hash.bytes));
	modulo_hash_free(modulo);
	return rc;
}

static enum rc hash_content(const struct services *services, const struct op *op,
			    const struct path_info *info, uint8_t *digest, struct err *err)
{
	EVP_MD_CTX *hash = EVP_MD_CTX_new();
	enum rc rc = RC_OK;

	if (!hash || EVP_DigestInit_ex(hash, algorithm_of(info->ca.kind), NULL) != 1)
		rc = err_set(err, RC_UNSUPPORTED, "libcrypto lacks the content address's hash");
	else if (is_of_nar(info->ca.kind))
		rc = nar_export(services, op, &info->node, hash_bytes, hash, err);
	else
		rc = hash_file(services, op, &info->node, hash, err);
	if (rc == RC_OK && EVP_DigestFinal_ex(hash, digest, NULL) != 1)
		rc = err_set(err, RC_NO_MEMORY, "libcrypto cannot hash");
	EVP_MD_CTX_free(hash);
	return rc;
}

enum rc nar_check_ca(const struct services *services, const struct op *op,
		     const struct path_info *info, struct err *err)
{
	bool modulo = info->ca.kind == CA_NAR_SHA256;
	uint8_t digest[EVP_MAX_MD_SIZE];
	enum rc rc;

	/* Of the NAR's hash path_info_check_ca has said all. */
	if (!info->has_ca || (modulo && !path_info_refers_to_itself(info)))
		return RC_OK;
	/* It is read again: then it has to be there. */
	rc = shared_commit_wait(op->commit, op, err);
	if (rc == RC_OK)
		rc = modulo ? hash_modulo(services, op, info, digest, err)
			    : hash_content(services, op, info, digest, err);
	if (rc == RC_OK && memcmp(digest, info->ca.digest, ca_digest_size(info->ca.kind)) != 0)
		rc = err_set(err, RC_INVALID,
			     "the content of %s has not the digest that its "
			     "content address names",
			     info->path.name);
	return rc;
}

/* ---- The narinfo by itself ---- */

static enum rc check_signed(const struct path_info *info, const struct nar_publish_policy *policy,
			    struct err *err)
{
	struct buf covered CLEANUP(buf_release) = BUF_INIT;

	if (policy->key_count == 0)
		return RC_OK;
	path_info_fingerprint(info, &covered);
	if (signatures_find(info->signatures, info->signature_count, policy->keys,
			    policy->key_count, buf_view(&covered)))
		return RC_OK;
	return err_set(err, RC_NOT_PERMITTED, "no key that this cache requires has signed %s",
		       info->path.name);
}

static enum rc check_narinfo(const struct narinfo *narinfo, const struct nar_publish_policy *policy,
			     const uint8_t hash[STORE_PATH_HASH_SIZE], struct err *err)
{
	const struct path_info *info = &narinfo->info;
	enum rc rc;

	if (memcmp(info->path.hash, hash, STORE_PATH_HASH_SIZE) != 0)
		return err_set(err, RC_INVALID, "the narinfo is of another store path, %s",
			       info->path.name);
	rc = path_info_check_ca(info, err);
	return rc == RC_OK ? check_signed(info, policy, err) : rc;
}

/* ---- Its NAR ---- */

static enum rc check_fits(const struct narinfo *narinfo, const struct pending_upload *pending,
			  struct err *err)
{
	const struct path_info *info = &narinfo->info;

	if (pending->facts.nar_size != info->nar_size)
		return err_set(err, RC_INVALID, "the NAR has %ju bytes, its narinfo says %ju",
			       (uintmax_t)pending->facts.nar_size, (uintmax_t)info->nar_size);
	if (memcmp(&pending->facts.nar_sha256, &info->nar_sha256, sizeof(info->nar_sha256)) != 0)
		return err_set(err, RC_INVALID, "the NAR has another hash than its narinfo says");
	return RC_OK;
}

/* That of the file, too, where it is the one that the narinfo names. */
static enum rc check_file(const struct narinfo *narinfo, const struct pending_upload *pending,
			  struct err *err)
{
	if (narinfo->has_file_size && narinfo->file_size != pending->file_size)
		return err_set(err, RC_INVALID, "%s has %ju bytes, its narinfo says %ju",
			       narinfo->url, (uintmax_t)pending->file_size,
			       (uintmax_t)narinfo->file_size);
	if (narinfo->has_file_hash &&
	    memcmp(&narinfo->file_sha256, &pending->file_sha256, sizeof(pending->file_sha256)) != 0)
		return err_set(err, RC_INVALID, "%s has another hash than its narinfo says",
			       narinfo->url);
	return RC_OK;
}

static enum rc find_pending(const struct services *services, const struct op *op,
			    const struct narinfo *narinfo, struct pending_upload *out,
			    struct digest *key, struct err *err)
{
	struct view url = view_of_string(narinfo->url);
	enum rc rc = pending_upload_get(services->scratch, op, url, out, err);

	*key = digest_of(url);
	if (rc == RC_OK)
		rc = check_file(narinfo, out, err);
	else if (rc == RC_NOT_FOUND)
		rc = pending_upload_find(services->scratch, op, &narinfo->info.nar_sha256, out, key,
					 err);
	if (rc == RC_OK)
		rc = check_fits(narinfo, out, err);
	if (rc != RC_OK)
		pending_upload_release(out);
	return rc;
}

/* ---- All of it ---- */

enum rc nar_sign(struct path_info *info, const struct nar_publish_policy *policy, struct err *err)
{
	struct buf covered CLEANUP(buf_release) = BUF_INIT;
	enum rc rc = RC_OK;

	if (policy->sign_count > 0)
		path_info_fingerprint(info, &covered);
	for (size_t i = 0; rc == RC_OK && i < policy->sign_count; i++) {
		struct signature signature;

		rc = signature_make(&policy->sign[i], buf_view(&covered), &signature, err);
		if (rc == RC_OK)
			(void)path_info_add_signature(info, &signature);
	}
	return rc;
}

static enum rc publish(const struct services *services, const struct op *op,
		       const struct nar_publish_policy *policy, struct path_info *info,
		       const struct node *root, struct err *err)
{
	char basename[STORE_PATH_BASENAME_MAX + 1];
	struct node named = *root;
	enum rc rc;

	store_path_basename(&info->path, basename);
	named.name = view_of_string(basename);
	node_copy(&info->node, &named);
	rc = path_info_check(info, err);
	if (rc == RC_OK)
		rc = nar_check_ca(services, op, info, err);
	if (rc == RC_OK)
		rc = nar_sign(info, policy, err);
	return rc == RC_OK ? path_info_service_add(services->path_infos, op, info, NULL, err) : rc;
}

/* The path is here: nothing but signatures can be new. */
static enum rc publish_again(const struct services *services, const struct op *op,
			     const struct nar_publish_policy *policy, struct path_info *existing,
			     struct path_info *info, struct err *err)
{
	struct services kept = services_kept(services);
	bool changed;
	enum rc rc = path_info_merge(existing, info, &changed, err);

	if (rc == RC_OK && services->kept.blobs) /* perhaps an upstream alone has it */
		rc = completeness_keep(services, op, &existing->node, err);
	node_copy(&info->node, &existing->node);
	if (rc == RC_OK)
		rc = nar_sign(info, policy, err);
	return rc == RC_OK ? path_info_service_add(kept.path_infos, op, info, NULL, err) : rc;
}

enum rc nar_publish(const struct services *services, const struct op *op,
		    const struct nar_publish_policy *policy,
		    const uint8_t hash[STORE_PATH_HASH_SIZE], struct view text, struct err *err)
{
	struct narinfo narinfo AUTO_NARINFO = { 0 };
	struct path_info existing AUTO_PATH_INFO = { 0 };
	struct pending_upload pending AUTO_PENDING_UPLOAD = { 0 };
	struct digest key;
	enum rc rc = narinfo_parse(text, &narinfo, err);

	if (rc == RC_OK)
		rc = check_narinfo(&narinfo, policy, hash, err);
	if (rc != RC_OK)
		return rc;
	rc = path_info_service_get(services->path_infos, op, hash, &existing, err);
	if (rc == RC_OK)
		return publish_again(services, op, policy, &existing, &narinfo.info, err);
	if (rc != RC_NOT_FOUND)
		return rc;
	rc = find_pending(services, op, &narinfo, &pending, &key, err);
	if (rc == RC_NOT_FOUND)
		return err_set(err, RC_FAILED_PRECONDITION,
			       "no NAR of %s was uploaded, or too long ago: upload it first",
			       narinfo.info.path.name);
	if (rc == RC_OK)
		rc = publish(services, op, policy, &narinfo.info, &pending.root, err);
	if (rc == RC_OK)
		rc = nar_alias_published(services->documents, op, view_of_string(narinfo.url), hash,
					 err);
	/* Other narinfos may name it, too. It is published whether that is remembered or not. */
	if (rc == RC_OK && pending_upload_renew(services->scratch, op, &key, &pending, true,
						policy->keep_ns, NULL) != RC_OK)
		return RC_OK;
	return rc;
}
