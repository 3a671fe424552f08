/* libcastor, by its public header alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <castor/castor.h>

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct castor_error error;

#define must(call)           expect(CASTOR_OK, call)
#define expect(wanted, call) expect_(wanted, call, #call, __FILE__, __LINE__)

static void expect_(enum castor_rc wanted, enum castor_rc found, const char *call, const char *file,
		    int line)
{
	if (found == wanted)
		return;
	print_error("%s\n  %s (%s), not %s\n", call, castor_rc_name(found), error.message,
		    castor_rc_name(wanted));
	_fail(file, line);
}

/* A small tree on disk, imported into a store in memory. */
struct fixture {
	char dir[64];
	char tree[80];
	struct castor_store *store;
	struct castor_path_info *info;
};

static void run(const char *format, const char *argument)
{
	char command[512];

	snprintf(command, sizeof(command), format, argument, argument);
	assert_int_equal(system(command), 0);
}

static int set_up(void **state)
{
	static struct fixture fixture;
	const struct castor_addresses memory = { .store = "memory:" };

	strcpy(fixture.dir, "/tmp/castor-lib-XXXXXX");
	if (!mkdtemp(fixture.dir))
		return -1;
	snprintf(fixture.tree, sizeof(fixture.tree), "%s/tree", fixture.dir);
	run("mkdir -p '%s/bin' && cd '%s' && printf 'hello\\n' >file && printf run >bin/run &&"
	    " chmod +x bin/run && ln -s ../file bin/link",
	    fixture.tree);
	must(castor_store_open(&memory, &fixture.store, &error));
	must(castor_import(fixture.store, NULL, fixture.tree, NULL, &fixture.info, NULL, &error));
	*state = &fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	castor_path_info_free(fixture->info);
	castor_store_close(fixture->store);
	run("chmod -R u+w '%s' && rm -rf '%s'", fixture->dir);
	return 0;
}

static void path_below(const struct fixture *fixture, const char *below, char out[512])
{
	snprintf(out, 512, "%s%s", castor_path_info_path(fixture->info), below);
}

/* ---- Outcomes ---- */

static void outcomes_have_names(void **state)
{
	(void)state;
	assert_string_equal(castor_rc_name(CASTOR_NOT_FOUND), "not found");
	assert_non_null(castor_rc_name((enum castor_rc)12345));
	assert_non_null(strchr(castor_version(), '.'));
}

static void bad_addresses(void **state)
{
	const struct castor_addresses unknown = { .store = "nowhere://x" };
	struct castor_store *store = (struct castor_store *)&error;

	(void)state;
	expect(CASTOR_INVALID, castor_store_open(&unknown, &store, &error));
	assert_null(store);
	assert_non_null(strstr(error.message, "memory:"));
	expect(CASTOR_INVALID, castor_store_open(&unknown, &store, NULL));
	castor_store_close(NULL);
}

static void timeouts_and_cancels(void **state)
{
	const struct fixture *fixture = *state;
	struct castor_cancel *cancel = castor_cancel_new();
	struct castor_op op = { .timeout_ms = INT64_MAX, .cancel = cancel };
	struct castor_node *node;
	char path[512];

	path_below(fixture, "/file", path);
	must(castor_lookup(fixture->store, &op, path, &node, &error));
	castor_node_free(node);
	castor_cancel_set(cancel);
	expect(CASTOR_CANCELLED, castor_lookup(fixture->store, &op, path, &node, &error));
	assert_null(node);
	castor_cancel_free(cancel);
	castor_cancel_free(NULL);
}

/* ---- Looking ---- */

static void lookups(void **state)
{
	const struct fixture *fixture = *state;
	struct castor_node *node, *again;
	char path[512];
	char *text;

	path_below(fixture, "/bin/run", path);
	must(castor_lookup(fixture->store, NULL, path, &node, &error));
	assert_int_equal(node->kind, CASTOR_FILE);
	assert_int_equal(node->executable, 1);
	assert_int_equal(node->size, 3);
	assert_string_equal(node->target, "");
	text = castor_node_text(node);
	must(castor_lookup(fixture->store, NULL, text, &again, &error));
	assert_memory_equal(again->digest.bytes, node->digest.bytes, CASTOR_DIGEST_SIZE);
	assert_int_equal(again->executable, 1);
	castor_string_free(text);
	castor_node_free(again);
	castor_node_free(node);
	path_below(fixture, "/bin/link", path);
	must(castor_lookup(fixture->store, NULL, path, &node, &error));
	assert_int_equal(node->kind, CASTOR_SYMLINK);
	assert_string_equal(node->target, "../file");
	castor_node_free(node);
	path_below(fixture, "/nothing", path);
	expect(CASTOR_NOT_FOUND, castor_lookup(fixture->store, NULL, path, &node, &error));
	assert_null(node);
	castor_node_free(NULL);
}

static void directories(void **state)
{
	static const char *const names[] = { "bin", "file" };
	const struct fixture *fixture = *state;
	struct castor_directory *dir;
	char path[512];

	path_below(fixture, "", path);
	must(castor_directory_open(fixture->store, NULL, path, &dir, &error));
	assert_int_equal(castor_directory_count(dir), 2);
	for (size_t i = 0; i < 2; i++)
		assert_string_equal(castor_directory_at(dir, i)->name, names[i]);
	assert_null(castor_directory_at(dir, 2));
	castor_directory_close(dir);
	castor_directory_close(NULL);
	path_below(fixture, "/file", path);
	expect(CASTOR_INVALID, castor_directory_open(fixture->store, NULL, path, &dir, &error));
	assert_null(dir);
}

static void blobs(void **state)
{
	const struct fixture *fixture = *state;
	struct castor_digest unknown = { { 1, 2, 3 } }, digest;
	struct castor_node *node;
	struct castor_blob *blob;
	char path[512], bytes[16];
	size_t got;

	path_below(fixture, "/file", path);
	must(castor_lookup(fixture->store, NULL, path, &node, &error));
	digest = node->digest;
	castor_node_free(node);
	for (int by_digest = 0; by_digest < 2; by_digest++) {
		if (by_digest)
			must(castor_blob_open_digest(fixture->store, NULL, &digest, &blob, &error));
		else
			must(castor_blob_open(fixture->store, NULL, path, &blob, &error));
		assert_int_equal(castor_blob_size(blob), 6);
		must(castor_blob_read(blob, NULL, bytes, sizeof(bytes), 1, &got, &error));
		assert_int_equal(got, 5);
		assert_memory_equal(bytes, "ello\n", 5);
		must(castor_blob_read(blob, NULL, bytes, sizeof(bytes), 6, &got, &error));
		assert_int_equal(got, 0);
		castor_blob_close(blob);
	}
	expect(CASTOR_NOT_FOUND,
	       castor_blob_open_digest(fixture->store, NULL, &unknown, &blob, &error));
	assert_null(blob);
	path_below(fixture, "/bin", path);
	expect(CASTOR_INVALID, castor_blob_open(fixture->store, NULL, path, &blob, &error));
	castor_blob_close(NULL);
}

static enum castor_rc count_one(void *context, const struct castor_path_info *info)
{
	assert_non_null(castor_path_info_path(info));
	return ++*(int *)context > 1 ? CASTOR_CANCELLED : CASTOR_OK;
}

static void path_infos(void **state)
{
	const struct fixture *fixture = *state;
	const char *path = castor_path_info_path(fixture->info);
	struct castor_path_info *info;
	char other[512], hash[33];
	int count = 0;

	assert_int_equal(strncmp(path, "/nix/store/", 11), 0);
	assert_string_equal(path + 11 + 32, "-tree");
	must(castor_path_info_get(fixture->store, NULL, path, &info, &error));
	assert_string_equal(castor_path_info_path(info), path);
	assert_int_equal(castor_path_info_node(info)->kind, CASTOR_DIRECTORY);
	assert_string_equal(castor_path_info_node(info)->name, path + 11);
	assert_true(castor_path_info_nar_size(info) > 500);
	assert_memory_equal(castor_path_info_nar_sha256(info),
			    castor_path_info_nar_sha256(fixture->info), 32);
	assert_int_equal(castor_path_info_reference_count(info), 0);
	assert_null(castor_path_info_reference(info, 0));
	assert_int_equal(castor_path_info_signature_count(info), 0);
	assert_null(castor_path_info_signature(info, 0));
	assert_null(castor_path_info_deriver(info));
	assert_int_equal(strncmp(castor_path_info_ca(info), "fixed:r:sha256:", 15), 0);
	castor_path_info_free(info);

	snprintf(hash, sizeof(hash), "%.32s", path + 11);
	must(castor_path_info_get(fixture->store, NULL, hash, &info, &error));
	castor_path_info_free(info);
	snprintf(other, sizeof(other), "%s-x", hash);
	expect(CASTOR_NOT_FOUND, castor_path_info_get(fixture->store, NULL, other, &info, &error));
	assert_null(info);
	expect(CASTOR_INVALID, castor_path_info_get(fixture->store, NULL, "x", &info, &error));
	castor_path_info_free(NULL);

	must(castor_path_info_list(fixture->store, NULL, count_one, &count, &error));
	assert_int_equal(count, 1);
	expect(CASTOR_CANCELLED,
	       castor_path_info_list(fixture->store, NULL, count_one, &count, &error));
}

/* ---- In and out ---- */

static void progress(void *context, const struct castor_import_progress *seen)
{
	struct castor_import_progress *last = context;

	*last = *seen;
}

static void imports(void **state)
{
	const struct fixture *fixture = *state;
	struct castor_import_progress last = { 0 }, stats;
	struct castor_import_options options = {
		.name = "other",
		.no_cache = 1,
		.threads = 1,
		.memory = 1 << 20,
		.progress = progress,
		.progress_context = &last,
	};
	struct castor_path_info *info;
	char missing[128];

	must(castor_import(fixture->store, NULL, fixture->tree, &options, &info, &stats, &error));
	assert_string_equal(castor_path_info_path(info) + 43, "-other");
	assert_int_equal(stats.files, 2);
	assert_int_equal(stats.symlinks, 1);
	assert_int_equal(stats.bytes, 9);
	assert_true(last.files <= 2);
	castor_path_info_free(info);
	must(castor_import(fixture->store, NULL, fixture->tree, NULL, NULL, NULL, &error));
	snprintf(missing, sizeof(missing), "%s/missing", fixture->dir);
	expect(CASTOR_NOT_FOUND,
	       castor_import(fixture->store, NULL, missing, NULL, &info, NULL, &error));
	assert_null(info);
	assert_non_null(strstr(error.message, "missing"));
}

static void exports(void **state)
{
	const struct fixture *fixture = *state;
	char path[512], out[128], command[300];

	path_below(fixture, "", path);
	snprintf(out, sizeof(out), "%s/out", fixture->dir);
	must(castor_export(fixture->store, NULL, path, out, &error));
	snprintf(command, sizeof(command), "diff -r '%s' '%s'", fixture->tree, out);
	assert_int_equal(system(command), 0);
	expect(CASTOR_EXISTS, castor_export(fixture->store, NULL, path, out, &error));
}

struct sink {
	uint64_t bytes, limit;
};

static enum castor_rc take(void *context, const void *bytes, size_t length)
{
	struct sink *sink = context;

	if (sink->bytes == 0)
		assert_memory_equal((const char *)bytes + 8, "nix-archive-1", 13);
	sink->bytes += length;
	return sink->bytes > sink->limit ? CASTOR_NO_SPACE : CASTOR_OK;
}

static void nars(void **state)
{
	const struct fixture *fixture = *state;
	struct sink all = { .limit = UINT64_MAX }, some = { .limit = 10 };
	char path[512];

	path_below(fixture, "", path);
	must(castor_nar_dump(fixture->store, NULL, path, take, &all, &error));
	assert_int_equal(all.bytes, castor_path_info_nar_size(fixture->info));
	expect(CASTOR_NO_SPACE, castor_nar_dump(fixture->store, NULL, path, take, &some, &error));
}

struct archive {
	char bytes[4096];
	size_t length, at;
	enum castor_rc fail; /* instead of the end */
};

static enum castor_rc collect(void *context, const void *bytes, size_t length)
{
	struct archive *archive = context;

	assert_true(length <= sizeof(archive->bytes) - archive->length);
	memcpy(archive->bytes + archive->length, bytes, length);
	archive->length += length;
	return CASTOR_OK;
}

static enum castor_rc give(void *context, void *bytes, size_t length, size_t *got)
{
	struct archive *archive = context;
	size_t left = archive->length - archive->at;

	if (left == 0 && archive->fail != CASTOR_OK)
		return archive->fail;
	*got = left < 100 ? left : 100;
	assert_true(*got <= length);
	memcpy(bytes, archive->bytes + archive->at, *got);
	archive->at += *got;
	return CASTOR_OK;
}

static void nars_come_in(void **state)
{
	const struct fixture *fixture = *state;
	const struct castor_addresses memory = { .store = "memory:" };
	struct archive archive = { .length = 0 };
	struct castor_path_info *info;
	struct castor_store *store;
	char path[512];

	path_below(fixture, "", path);
	must(castor_nar_dump(fixture->store, NULL, path, collect, &archive, &error));
	must(castor_store_open(&memory, &store, &error));
	must(castor_nar_import(store, NULL, give, &archive, "tree", &info, &error));
	assert_string_equal(castor_path_info_path(info), path);
	castor_path_info_free(info);
	archive.at = 0;
	archive.length--;
	expect(CASTOR_INVALID,
	       castor_nar_import(store, NULL, give, &archive, "tree", NULL, &error));
	archive.at = 0;
	archive.fail = CASTOR_UNAVAILABLE;
	expect(CASTOR_UNAVAILABLE,
	       castor_nar_import(store, NULL, give, &archive, "tree", NULL, &error));
	expect(CASTOR_INVALID, castor_nar_import(store, NULL, give, &archive, "a/b", NULL, &error));
	castor_store_close(store);
}

static void tars_come_in(void **state)
{
	const struct fixture *fixture = *state;
	struct castor_path_info *info;
	char path[160];
	int fd;

	run("cd '%s' && tar cJf ../tree.tar.xz --format=pax .", fixture->tree);
	snprintf(path, sizeof(path), "%s/tree.tar.xz", fixture->dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	must(castor_tar_import(fixture->store, NULL, fd, "tree", &info, &error));
	close(fd);
	assert_string_equal(castor_path_info_path(info), castor_path_info_path(fixture->info));
	castor_path_info_free(info);
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	expect(CASTOR_INVALID, castor_tar_import(fixture->store, NULL, fd, "a/b", NULL, &error));
	close(fd);
}

static void references_and_upstreams(void **state)
{
	const struct fixture *fixture = *state;
	const struct castor_addresses memory = { .store = "memory:" };
	const struct castor_import_options scan = { .references = 1 };
	struct castor_path_info *info;
	struct castor_store *store;
	char command[700];

	snprintf(command, sizeof(command), "echo 'see %s' >'%s/note'",
		 castor_path_info_path(fixture->info), fixture->dir);
	assert_int_equal(system(command), 0);
	snprintf(command, sizeof(command), "%s/note", fixture->dir);
	must(castor_import(fixture->store, NULL, command, &scan, &info, NULL, &error));
	assert_int_equal(castor_path_info_reference_count(info), 1);
	assert_string_equal(castor_path_info_reference(info, 0),
			    castor_path_info_path(fixture->info));
	castor_path_info_free(info);

	/* Another store on disk behind one in memory. */
	snprintf(command, sizeof(command), "local://%s/behind", fixture->dir);
	must(castor_store_open(&(struct castor_addresses){ .store = command }, &store, &error));
	must(castor_import(store, NULL, fixture->tree, NULL, NULL, NULL, &error));
	castor_store_close(store);
	must(castor_store_open(&memory, &store, &error));
	expect(CASTOR_NOT_FOUND,
	       castor_path_info_get(store, NULL, castor_path_info_path(fixture->info), &info,
				    &error));
	expect(CASTOR_INVALID, castor_store_add_upstream(store, "odd://x", &error));
	must(castor_store_add_upstream(store, command, &error));
	must(castor_path_info_get(store, NULL, castor_path_info_path(fixture->info), &info,
				  &error));
	castor_path_info_free(info);
	castor_store_close(store);
}

/* What is open stays good when the store is closed. */
static void objects_outlive_the_store(void **state)
{
	const struct fixture *fixture = *state;
	const struct castor_addresses memory = { .store = "memory:" };
	struct castor_store *store;
	struct castor_path_info *info;
	struct castor_blob *blob;
	char path[512], byte;
	size_t got;

	must(castor_store_open(&memory, &store, &error));
	must(castor_import(store, NULL, fixture->tree, NULL, &info, NULL, &error));
	snprintf(path, sizeof(path), "%s/file", castor_path_info_path(info));
	must(castor_blob_open(store, NULL, path, &blob, &error));
	castor_store_close(store);
	must(castor_blob_read(blob, NULL, &byte, 1, 0, &got, &error));
	assert_int_equal(got, 1);
	castor_blob_close(blob);
	castor_path_info_free(info);
}

/* ---- Mounts ---- */

static void check_mounted(const char *dir, const char *below)
{
	char path[512], bytes[6];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, below);
	fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	assert_int_equal(read(fd, bytes, 6), 6);
	assert_memory_equal(bytes, "hello\n", 6);
	close(fd);
}

static void mounts(void **state)
{
	const struct fixture *fixture = *state;
	const char *path = castor_path_info_path(fixture->info);
	const struct castor_root roots[] = { { "mine", path } };
	const struct castor_mount_options listed = { .roots = roots, .root_count = 1 };
	const struct castor_root twice[] = { { "mine", path }, { "mine", path } };
	const struct castor_mount_options wrong = { .roots = twice, .root_count = 2 };
	struct castor_mount *mount;
	char dir[128], below[300];
	enum castor_rc rc;

	snprintf(dir, sizeof(dir), "%s/mount", fixture->dir);
	assert_int_equal(mkdir(dir, 0755), 0);
	rc = castor_mount_start(fixture->store, dir, &listed, &mount, &error);
	if (rc == CASTOR_UNSUPPORTED || rc == CASTOR_DENIED || rc == CASTOR_NOT_PERMITTED ||
	    access("/dev/fuse", R_OK | W_OK)) {
		print_message("no mounts here: %s\n", error.message);
		assert_null(mount);
		skip();
	}
	must(rc);
	check_mounted(dir, "mine/file");
	assert_int_equal(poll(&(struct pollfd){ castor_mount_ended_fd(mount), POLLIN, 0 }, 1, 0),
			 0);
	castor_mount_stop(mount);
	must(castor_mount_start(fixture->store, dir, NULL, &mount, &error));
	snprintf(below, sizeof(below), "%s/file", path + 11);
	check_mounted(dir, below);
	castor_mount_stop(mount);
	expect(CASTOR_INVALID, castor_mount_start(fixture->store, dir, &wrong, &mount, &error));
	assert_null(mount);
	castor_mount_stop(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(outcomes_have_names),
		cmocka_unit_test(bad_addresses),
		cmocka_unit_test_setup_teardown(timeouts_and_cancels, set_up, tear_down),
		cmocka_unit_test_setup_teardown(lookups, set_up, tear_down),
		cmocka_unit_test_setup_teardown(directories, set_up, tear_down),
		cmocka_unit_test_setup_teardown(blobs, set_up, tear_down),
		cmocka_unit_test_setup_teardown(path_infos, set_up, tear_down),
		cmocka_unit_test_setup_teardown(imports, set_up, tear_down),
		cmocka_unit_test_setup_teardown(exports, set_up, tear_down),
		cmocka_unit_test_setup_teardown(nars, set_up, tear_down),
		cmocka_unit_test_setup_teardown(nars_come_in, set_up, tear_down),
		cmocka_unit_test_setup_teardown(tars_come_in, set_up, tear_down),
		cmocka_unit_test_setup_teardown(references_and_upstreams, set_up, tear_down),
		cmocka_unit_test_setup_teardown(objects_outlive_the_store, set_up, tear_down),
		cmocka_unit_test_setup_teardown(mounts, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
