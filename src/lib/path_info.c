/* Path infos, as the public sees them: every string is made when the object is. */
#include "lib/lib.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "nix/nixbase32.h"

struct castor_path_info {
	struct path_info info;
	struct lib_node node;
	char path[STORE_PATH_ABSOLUTE_MAX + 1];
	char **references;
	char **signatures;
	char *deriver;
	char *ca;
};

static char *path_text(const struct store_path *path, const char *suffix)
{
	char text[STORE_PATH_ABSOLUTE_MAX + 1];

	store_path_absolute(path, text);
	return mem_printf("%s%s", text, suffix);
}

static char *signature_text(const struct signature *signature)
{
	struct buf text CLEANUP(buf_release) = BUF_INIT;

	buf_printf(&text, "%s:", signature->name);
	base64_encode(BASE64_STANDARD, view_of(signature->data, SIGNATURE_SIZE), &text);
	return mem_strndup(buf_view(&text));
}

struct castor_path_info *lib_path_info_new(struct path_info *info)
{
	struct castor_path_info *out = mem_zalloc(sizeof(*out));
	struct buf ca CLEANUP(buf_release) = BUF_INIT;

	out->info = *info;
	*info = (struct path_info){ 0 };
	info = &out->info;
	lib_node_init(&out->node, &info->node);
	store_path_absolute(&info->path, out->path);
	out->references = mem_array(info->reference_count, sizeof(char *));
	for (size_t i = 0; i < info->reference_count; i++)
		out->references[i] = path_text(&info->references[i], "");
	out->signatures = mem_array(info->signature_count, sizeof(char *));
	for (size_t i = 0; i < info->signature_count; i++)
		out->signatures[i] = signature_text(&info->signatures[i]);
	if (info->has_deriver)
		out->deriver = path_text(&info->deriver, ".drv");
	if (path_info_print_ca(info, &ca))
		out->ca = mem_strndup(buf_view(&ca));
	return out;
}

void castor_path_info_free(struct castor_path_info *info)
{
	if (!info)
		return;
	for (size_t i = 0; i < info->info.reference_count; i++)
		free(info->references[i]);
	for (size_t i = 0; i < info->info.signature_count; i++)
		free(info->signatures[i]);
	free(info->references);
	free(info->signatures);
	free(info->deriver);
	free(info->ca);
	lib_node_release(&info->node);
	path_info_release(&info->info);
	free(info);
}

/* "/nix/store/<hash>-<name>", "<hash>-<name>", or the hash alone. The name has to match too. */
static enum rc get(struct castor_store *store, const struct op *op, const char *text,
		   struct path_info *out, struct err *err)
{
	uint8_t hash[STORE_PATH_HASH_SIZE];
	struct store_path path;
	enum rc rc;

	if (nixbase32_decode(view_of_string(text), hash, sizeof(hash)))
		return path_info_service_get(store->services.path_infos, op, hash, out, err);
	rc = store_path_parse(view_of_string(text), &path, err);
	if (rc == RC_OK)
		rc = path_info_service_get(store->services.path_infos, op, path.hash, out, err);
	if (rc == RC_OK && !store_path_equal(&out->path, &path)) {
		path_info_release(out);
		rc = err_set(err, RC_NOT_FOUND, "%s is known by another name", text);
	}
	return rc;
}

enum castor_rc castor_path_info_get(struct castor_store *store, const struct castor_op *op,
				    const char *path, struct castor_path_info **out,
				    struct castor_error *error)
{
	struct op inner = lib_op(op);
	struct err err = ERR_INIT;
	struct path_info info;
	enum rc rc;

	*out = NULL;
	rc = get(store, &inner, path, &info, &err);
	if (rc == RC_OK)
		*out = lib_path_info_new(&info);
	return lib_result(rc, &err, error);
}

enum castor_rc castor_path_info_list(struct castor_store *store, const struct castor_op *op,
				     castor_path_info_fn *each, void *context,
				     struct castor_error *error)
{
	struct path_info_iter *iter = NULL;
	struct op inner = lib_op(op);
	struct err err = ERR_INIT;
	struct err first = ERR_INIT;
	bool end = false;
	enum rc rc = path_info_service_list(store->services.path_infos, &inner, NULL, &iter, &err);
	enum rc failed = RC_OK;

	while (rc == RC_OK) {
		struct path_info info;
		struct castor_path_info *shown;

		rc = path_info_iter_next(iter, &inner, &info, &end, &err);
		if (rc != RC_OK && path_info_iter_goes_on(iter)) {
			if (failed == RC_OK)
				first = err;
			failed = failed == RC_OK ? rc : failed;
			rc = RC_OK;
			continue;
		}
		if (rc != RC_OK || end)
			break;
		shown = lib_path_info_new(&info);
		rc = lib_rc_from(each(context, shown));
		castor_path_info_free(shown);
	}
	path_info_iter_free(iter);
	if (rc == RC_OK && failed != RC_OK)
		return lib_result(failed, &first, error);
	return lib_result(rc, &err, error);
}

const char *castor_path_info_path(const struct castor_path_info *info)
{
	return info->path;
}

const struct castor_node *castor_path_info_node(const struct castor_path_info *info)
{
	return &info->node.node;
}

uint64_t castor_path_info_nar_size(const struct castor_path_info *info)
{
	return info->info.nar_size;
}

const uint8_t *castor_path_info_nar_sha256(const struct castor_path_info *info)
{
	return info->info.nar_sha256.bytes;
}

size_t castor_path_info_reference_count(const struct castor_path_info *info)
{
	return info->info.reference_count;
}

const char *castor_path_info_reference(const struct castor_path_info *info, size_t index)
{
	return index < info->info.reference_count ? info->references[index] : NULL;
}

size_t castor_path_info_signature_count(const struct castor_path_info *info)
{
	return info->info.signature_count;
}

const char *castor_path_info_signature(const struct castor_path_info *info, size_t index)
{
	return index < info->info.signature_count ? info->signatures[index] : NULL;
}

const char *castor_path_info_deriver(const struct castor_path_info *info)
{
	return info->deriver;
}

const char *castor_path_info_ca(const struct castor_path_info *info)
{
	return info->ca;
}
