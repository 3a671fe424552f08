/* From addresses to services. A scheme joins by a line in the table of schemes. */
#include "store/open.h"

#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "base/url.h"
#include "local/local_store.h"
#include "service/blob/combined.h"
#include "service/blob/files.h"
#include "service/blob/local.h"
#include "service/blob/memory.h"
#include "service/directory/combined.h"
#include "service/directory/local.h"
#include "service/directory/memory.h"
#include "service/document/local.h"
#include "service/path_info/cache.h"
#include "service/path_info/local.h"
#include "service/path_info/memory.h"
#ifdef CASTOR_WITH_GRPC
#include "service/blob/grpc.h"
#include "service/directory/grpc.h"
#include "service/path_info/grpc.h"
#endif
#ifdef CASTOR_WITH_HTTP
#include "store/nix_http.h"
#endif

struct scheme {
	const char *name;
	const char *const *params; /* ends with NULL */
	/* Fills what this scheme has, leaves the rest NULL. near: what was opened before; blobs and
	 * directories, for path infos that bring them. */
	enum rc (*open)(const struct url *url, enum store_use use, const struct services *near,
			struct services *out, struct err *err);
};

/* ---- Schemes ---- */

static enum rc check_dir(const struct url *url, struct err *err)
{
	if (*url->host)
		return err_set(err, RC_INVALID,
			       "it names the host '%s': a directory needs three slashes, as in "
			       "%s:///%s%s",
			       url->host, url->scheme, url->host, url->path);
	if (url->path[0] != '/')
		return err_set(err, RC_INVALID, "it names no absolute path, as %s:///dir does",
			       url->scheme);
	if (url->path[strspn(url->path, "/")] == '\0')
		return err_set(err, RC_INVALID, "the root directory cannot be a store");
	return RC_OK;
}

static enum rc open_files(const struct url *url, enum store_use use, const struct services *near,
			  struct services *out, struct err *err)
{
	enum rc rc = check_dir(url, err);

	(void)near, (void)use;
	return rc == RC_OK ? blob_files_open(url->path, &out->blobs, err) : rc;
}

static enum rc parse_compression(const char *text, struct local_policy *policy, struct err *err)
{
	uint64_t level = (uint64_t)local_policy_default.level;

	if (strcmp(text, "none") == 0) {
		policy->compression = LOCAL_COMPRESSION_NONE;
		policy->level = 0;
		return RC_OK;
	}
	if (strncmp(text, "zstd", 4) != 0 || (text[4] != '\0' && text[4] != ':') ||
	    (text[4] == ':' && !text_parse_u64(view_of_string(text + 5), &level)) || level < 1 ||
	    level > 19)
		return err_set(err, RC_INVALID,
			       "compression is none or zstd:1 to zstd:19, not '%s'", text);
	policy->compression = LOCAL_COMPRESSION_ZSTD;
	policy->level = (int)level;
	return RC_OK;
}

static enum rc open_local(const struct url *url, enum store_use use, const struct services *near,
			  struct services *out, struct err *err)
{
	const char *compression = url_param(url, "compression");
	const char *raw_files = url_param(url, "raw-files");
	struct local_policy policy = { .compression = LOCAL_COMPRESSION_ANY,
				       .raw_files = LOCAL_RAW_FILES_ANY };
	struct local_store *store;
	enum rc rc = check_dir(url, err);

	(void)near;
	if (rc == RC_OK && compression)
		rc = parse_compression(compression, &policy, err);
	if (rc == RC_OK && raw_files) {
		rc = text_parse_size(raw_files, &policy.raw_files, err);
		if (rc != RC_OK)
			rc = err_context(err, rc, "raw-files");
	}
	if (rc == RC_OK)
		rc = local_store_open(url->path,
				      use == STORE_READ ? LOCAL_STORE_READ : LOCAL_STORE_WRITE,
				      &policy, &store, err);
	if (rc != RC_OK)
		return rc;
	out->blobs = blob_local_new(store);
	out->directories = directory_local_new(store);
	out->path_infos = path_info_local_new(store);
	out->nar_facts = nar_facts_local_new(store);
	out->scratch = scratch_local_new(store);
	out->local = store;
	rc = document_local_new(store, &out->documents, err);
	local_store_unref(store);
	return rc;
}

static enum rc open_memory(const struct url *url, enum store_use use, const struct services *near,
			   struct services *out, struct err *err)
{
	(void)near, (void)use;
	if (*url->host || *url->path)
		return err_set(err, RC_INVALID, "memory: takes neither a host nor a path");
	out->blobs = blob_memory_new();
	out->directories = directory_memory_new();
	out->path_infos = path_info_memory_new();
	out->nar_facts = nar_facts_memory_new();
	out->scratch = scratch_memory_new();
	out->documents = document_memory_new();
	return RC_OK;
}

#ifdef CASTOR_WITH_GRPC
static enum rc open_grpc(const struct url *url, enum store_use use, const struct services *near,
			 struct services *out, struct err *err)
{
	struct rpc_channel *channel;
	enum rc rc = rpc_channel_open(url, &channel, err);

	(void)near, (void)use;
	if (rc != RC_OK)
		return rc;
	out->blobs = blob_grpc_new(channel);
	out->directories = directory_grpc_new(channel);
	out->path_infos = path_info_grpc_new(channel);
	out->nar_facts = nar_facts_grpc_new(channel);
	rpc_channel_unref(channel);
	return RC_OK;
}

static const char *const grpc_params[] = { "package", "tls-ca",       "tls-cert",
					   "tls-key", "wait-connect", NULL };
#endif

#ifdef CASTOR_WITH_HTTP
static enum rc open_address(const char *address, enum store_use use, const struct services *near,
			    struct services *out, struct err *err);

/* ?castore=: where the blobs and directories are that the cache's NARs are made of. */
static enum rc open_nix_http(const struct url *url, enum store_use use, const struct services *near,
			     struct services *out, struct err *err)
{
	const char *castore = url_param(url, "castore");
	struct services far = { 0 };
	enum rc rc = RC_OK;

	bool file = strcmp(url->scheme, "nix+file") == 0;

	if (file ? *url->host || url->path[0] != '/' : !*url->host)
		return err_set(err, RC_INVALID,
			       file ? "it names no directory, as in file:///path"
				    : "it names no host");
	if (!near->blobs || !near->directories)
		return err_set(err, RC_INVALID,
			       "a binary cache keeps path infos only: name a store of your own for "
			       "what comes from it, by --store or by --blob-service-addr and "
			       "--directory-service-addr");
	if (castore) {
		rc = open_address(castore, use, &(struct services){ 0 }, &far, err);
		if (rc == RC_OK && !(far.blobs && far.directories))
			rc = err_set(err, RC_INVALID, "castore: %s keeps no blobs and directories",
				     castore);
	}
	if (rc == RC_OK)
		rc = path_info_nix_http_new(url, NULL, near, &far, &out->path_infos, err);
	if (rc == RC_OK)
		out->documents = path_info_nix_http_documents(out->path_infos);
	services_release(&far);
	return rc;
}

static const char *const nix_http_params[] = { "bearer-token-file",   "castore", "netrc", "tls-ca",
					       "trusted-public-keys", NULL };
static const char *const nix_file_params[] = { "castore", "trusted-public-keys", NULL };
#endif

static const char *const no_params[] = { NULL };
static const char *const local_params[] = { "compression", "raw-files", NULL };

static const struct scheme schemes[] = {
	{ "files", no_params, open_files },
#ifdef CASTOR_WITH_GRPC
	{ "grpc+http", grpc_params, open_grpc },
	{ "grpc+https", grpc_params, open_grpc },
	{ "grpc+unix", grpc_params, open_grpc },
#endif
	{ "local", local_params, open_local },
	{ "memory", no_params, open_memory },
#ifdef CASTOR_WITH_HTTP
	{ "nix+file", nix_file_params, open_nix_http },
	{ "nix+http", nix_http_params, open_nix_http },
	{ "nix+https", nix_http_params, open_nix_http },
#endif
};

/* ---- One address ---- */

static enum rc unknown_scheme(const char *name, struct err *err)
{
	struct buf known CLEANUP(buf_release) = BUF_INIT;

	for (size_t i = 0; i < ARRAY_LEN(schemes); i++)
		buf_printf(&known, "%s%s:", i ? ", " : "", schemes[i].name);
	return err_set(err, RC_INVALID, "unknown scheme '%s:'; known are %s", name,
		       buf_string(&known));
}

static enum rc open_url(const struct url *url, enum store_use use, const struct services *near,
			struct services *out, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
		enum rc rc;

		if (strcmp(url->scheme, schemes[i].name) != 0)
			continue;
		if (url->user && strncmp(url->scheme, "nix+http", 8) != 0)
			return err_set(err, RC_INVALID,
				       "the address names a user, which castor does not use there");
		rc = url_check_params(url, schemes[i].params, err);
		return rc == RC_OK ? schemes[i].open(url, use, near, out, err) : rc;
	}
	return unknown_scheme(url->scheme, err);
}

static enum rc open_address(const char *address, enum store_use use, const struct services *near,
			    struct services *out, struct err *err)
{
	struct url url CLEANUP(url_release) = { 0 };
	enum rc rc = url_parse(address, &url, err);

	if (rc == RC_OK)
		rc = open_url(&url, use, near, out, err);
	if (rc == RC_OK)
		return RC_OK;
	services_release(out);
	char *shown AUTO_FREE = url_shown(address);
	return err_context(err, rc, "%s", shown);
}

/* ---- The bundle ---- */

enum kind { BLOBS, DIRECTORIES, PATH_INFOS, KINDS };

static const char *const kind_names[KINDS] = { "blobs", "directories", "path infos" };
static const char *const kind_flags[KINDS] = { "--blob-service-addr", "--directory-service-addr",
					       "--path-info-service-addr" };

static bool has_kind(const struct services *services, enum kind kind)
{
	if (kind == BLOBS)
		return services->blobs;
	return kind == DIRECTORIES ? services->directories != NULL : services->path_infos != NULL;
}

/* Another reference. */
static void take_kind(const struct services *from, enum kind kind, struct services *to)
{
	if (kind == BLOBS) {
		to->blobs = blob_service_ref(from->blobs);
	} else if (kind == DIRECTORIES) {
		to->directories = directory_service_ref(from->directories);
	} else {
		to->path_infos = path_info_service_ref(from->path_infos);
		to->nar_facts = from->nar_facts ? nar_facts_store_ref(from->nar_facts)
						: nar_facts_memory_new();
		to->scratch =
			from->scratch ? scratch_store_ref(from->scratch) : scratch_memory_new();
		if (from->documents)
			to->documents = document_store_ref(from->documents);
	}
}

/* An address that is said for several kinds is opened once. */
static enum rc open_kinds(const char *const addresses[KINDS], enum store_use use,
			  struct services opened[KINDS], struct services *out, struct err *err)
{
	for (size_t kind = 0; kind < KINDS; kind++) {
		size_t first = 0;
		enum rc rc = RC_OK;

		if (!addresses[kind])
			return err_set(err, RC_INVALID, "no address for the %s", kind_names[kind]);
		while (strcmp(addresses[first], addresses[kind]) != 0)
			first++;
		if (first == kind)
			rc = open_address(addresses[kind], use, out, &opened[kind], err);
		if (rc != RC_OK)
			return rc;
		if (!has_kind(&opened[first], (enum kind)kind))
			return err_set(err, RC_INVALID, "%s keeps no %s; say where they are by %s",
				       addresses[kind], kind_names[kind], kind_flags[kind]);
		take_kind(&opened[first], (enum kind)kind, out);
		if (kind == 0)
			out->local = opened[first].local;
		else if (out->local != opened[first].local)
			out->local = NULL;
	}
	return RC_OK;
}

enum rc store_open(const struct store_addresses *addresses, enum store_use use,
		   struct services *out, struct err *err)
{
	const char *const each[KINDS] = {
		addresses->blobs ? addresses->blobs : addresses->store,
		addresses->directories ? addresses->directories : addresses->store,
		addresses->path_infos ? addresses->path_infos : addresses->store,
	};
	struct services opened[KINDS] = { 0 };
	enum rc rc;

	/* What comes from a binary cache is kept in the others. */
	if (each[PATH_INFOS] && strncmp(each[PATH_INFOS], "nix+", 4) == 0)
		use = STORE_WRITE;

	*out = (struct services){ 0 };
	rc = open_kinds(each, use, opened, out, err);
	for (size_t kind = 0; kind < KINDS; kind++)
		services_release(&opened[kind]);
	if (rc != RC_OK)
		services_release(out);
	return rc;
}

/* ---- Upstreams ---- */

/* What is kept is what there was before the first upstream. */
static void keep_view(struct services *services)
{
	if (services->kept.blobs)
		return;
	services->kept.blobs = blob_service_ref(services->blobs);
	services->kept.directories = directory_service_ref(services->directories);
	services->kept.path_infos = path_info_service_ref(services->path_infos);
}

enum rc store_add_upstream(const char *address, bool required, struct services *services,
			   struct err *err)
{
	bool plain = strncmp(address, "http:", 5) == 0 || strncmp(address, "https:", 6) == 0 ||
		     strncmp(address, "file:", 5) == 0;
	char *shown AUTO_FREE = url_shown(address);
	char *whole AUTO_FREE = mem_printf("%s%s", plain ? "nix+" : "", address);
	struct path_info_service *path_infos = services->path_infos;
	/* What is kept has to be kept whole: that another upstream has some of it does not count. */
	struct services far = { 0 }, own = services_kept(services);
	enum rc rc = open_address(whole, STORE_READ, &own, &far, err);

	if (rc == RC_OK && !far.path_infos)
		rc = err_set(err, RC_INVALID, "%s keeps no path infos", whole);
	if (rc != RC_OK) {
		services_release(&far);
		return err_context(err, rc, "upstream");
	}
	keep_view(services);
	/* Without services of its own its contents come near: then they are kept. */
	const struct path_info_cache_options options = { .keep = !far.blobs && !far.directories,
							 .required = required,
							 .name = shown };
	services->path_infos = path_info_cache_new(path_infos, far.path_infos, &options);
	path_info_service_unref(path_infos);
	if (far.documents && services->documents) {
		struct document_store *near = services->documents;

		services->documents = document_combined_new(near, far.documents);
		document_store_unref(near);
	}
	if (far.blobs) {
		struct blob_service *near = services->blobs;

		services->blobs = blob_combined_new(near, far.blobs);
		blob_service_unref(near);
	}
	if (far.directories) {
		struct directory_service *near = services->directories;

		services->directories = directory_combined_new(near, far.directories);
		directory_service_unref(near);
	}
	services_release(&far);
	return RC_OK;
}
