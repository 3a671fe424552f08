/* Import of trees: what comes out is what went in, whatever threads and memory; and each way in
 * which a tree can refuse. */
#include "transfer/tree_in.h"

#include <errno.h>
#include <pthread.h>
#include <sys/time.h>

#include "tree_test_util.h"
#include "double/double.h"
#include "service/blob/local.h"
#include "service/directory/local.h"
#include "service/path_info/local.h"
#include "transfer/tree_walk.h"

/* ---- What was stored, compared with the disk ---- */

static void compare(const struct services *services, const struct node *node, const char *path);

static void compare_file(const struct services *services, const struct node *node, const char *path,
			 const struct stat *st)
{
	struct buf bytes CLEANUP(buf_release) = BUF_INIT, disk CLEANUP(buf_release) = BUF_INIT;
	struct err err = ERR_INIT;

	assert_int_equal(node->kind, NODE_FILE);
	assert_int_equal(node->size, st->st_size);
	assert_int_equal(node->executable, (st->st_mode & 0100) != 0);
	assert_ok(
		blob_service_get(services->blobs, &op_none, &node->digest, SIZE_MAX, &bytes, &err),
		&err);
	assert_int_equal(bytes.len, st->st_size);
	buf_reserve(&disk, bytes.len + 1);
	FILE *file = fopen(path, "rb");
	assert_non_null(file);
	disk.len = fread(disk.ptr, 1, bytes.len + 1, file);
	fclose(file);
	assert_true(view_equal(buf_view(&bytes), buf_view(&disk)));
}

static void compare_directory(const struct services *services, const struct node *node,
			      const char *path)
{
	struct directory *dir AUTO_DIRECTORY = NULL;
	struct err err = ERR_INIT;
	struct dirent **names;
	int count = scandir(path, &names, NULL, alphasort);

	assert_int_equal(node->kind, NODE_DIRECTORY);
	assert_ok(directory_service_get(services->directories, &op_none, &node->digest, &dir, &err),
		  &err);
	assert_true(directory_size_matches(dir, node->size));
	assert_int_equal(count - 2, directory_count(dir));
	for (int i = 0; i < count; i++)
		free(names[i]);
	free(names);
	for (size_t i = 0; i < directory_count(dir); i++) {
		const struct node *child = directory_at(dir, i);
		char *name AUTO_FREE = mem_strndup(child->name);
		char *below AUTO_FREE = mem_printf("%s/%s", path, name);

		compare(services, child, below);
	}
}

static void compare(const struct services *services, const struct node *node, const char *path)
{
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	if (S_ISREG(st.st_mode)) {
		compare_file(services, node, path, &st);
	} else if (S_ISDIR(st.st_mode)) {
		compare_directory(services, node, path);
	} else {
		char target[PATH_MAX];
		ssize_t len = readlink(path, target, sizeof(target));

		assert_int_equal(node->kind, NODE_SYMLINK);
		assert_view_equal(node->target, view_of(target, (size_t)len));
	}
}

/* Imports, and checks node, content and NAR against the disk, and that the path info was published.
 */
static struct import_progress import_checked(const struct services *services, const char *path,
					     const struct import_options *options)
{
	struct path_info info AUTO_PATH_INFO = { 0 }, found AUTO_PATH_INFO = { 0 };
	struct import_progress stats = tree_test_import(services, path, options, &info);
	struct err err = ERR_INIT;

	compare(services, &info.node, path);
	assert_ok(
		path_info_service_get(services->path_infos, &op_none, info.path.hash, &found, &err),
		&err);
	assert_string_equal(found.path.name, info.path.name);
	assert_true(node_equal(&found.node, &info.node));
	return stats;
}

static void random_trees(void **state)
{
	static const size_t memories[] = { 0, 1, 5 << 20 };
	struct testing_random random = testing_random_from_env();

	(void)state;
	for (int i = 0; i < 12; i++) {
		AUTO_TESTING_DIR char *dir = testing_dir();
		struct services services = tree_test_services();
		char *last AUTO_FREE = NULL;
		struct import_options options = {
			.name = "tree",
			.no_cache = true,
			.threads = (unsigned)testing_below(&random, 5),
			.memory = memories[testing_below(&random, ARRAY_LEN(memories))],
		};

		tree_test_fill(dir, 4, &random, &last);
		import_checked(&services, dir, &options);
		services_release(&services);
	}
}

/* The same into packs and an index, twice: what came first is found again. */
static void a_store_on_disk(void **state)
{
	struct testing_random random = testing_random_from_env();
	AUTO_TESTING_DIR char *dir = testing_dir();
	AUTO_TESTING_DIR char *at = testing_dir();
	struct import_options options = { .name = "tree", .no_cache = true };
	struct services services;
	struct local_store *store;
	struct err err = ERR_INIT;
	char *last AUTO_FREE = NULL;

	(void)state;
	tree_test_fill(dir, 4, &random, &last);
	tree_test_write_random(dir, "large", 5 << 20, &random);
	assert_ok(local_store_open(at, LOCAL_STORE_WRITE, NULL, &store, &err), &err);
	services = (struct services){ .blobs = blob_local_new(store),
				      .directories = directory_local_new(store),
				      .path_infos = path_info_local_new(store),
				      .nar_facts = nar_facts_local_new(store) };
	local_store_unref(store);
	assert_true(import_checked(&services, dir, &options).bytes_stored > 0);
	assert_int_equal(import_checked(&services, dir, &options).bytes_stored, 0);
	services_release(&services);
}

static void large_file(void **state)
{
	struct testing_random random = testing_random_from_env();
	AUTO_TESTING_DIR char *dir = testing_dir();
	char *path AUTO_FREE = mem_printf("%s/large", dir);
	struct services services = tree_test_services();
	struct import_options options = { .no_cache = true, .memory = 4 << 20 };

	(void)state;
	tree_test_write_random(dir, "large", (20 << 20) + 12345, &random);
	import_checked(&services, path, &options);
	tree_test_write(dir, "a", "a", 1);
	tree_test_write(dir, "z", "z", 1);
	options.name = "around";
	import_checked(&services, dir, &options);
	services_release(&services);
}

static void roots_of_every_kind(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct services services = tree_test_services();
	struct import_options options = { .no_cache = true };
	char *file AUTO_FREE = mem_printf("%s/file", dir),
		   *run AUTO_FREE = mem_printf("%s/run", dir),
		   *link AUTO_FREE = mem_printf("%s/link", dir),
		   *empty AUTO_FREE = mem_printf("%s/empty", dir),
		   *nothing AUTO_FREE = mem_printf("%s/nothing", dir);

	(void)state;
	tree_test_write(dir, "file", "hello\n", 6);
	tree_test_write(dir, "run", "#!\n", 3);
	tree_test_write(dir, "nothing", "", 0);
	assert_int_equal(chmod(run, 0755), 0);
	assert_int_equal(symlink("nowhere", link), 0);
	assert_int_equal(mkdir(empty, 0755), 0);
	import_checked(&services, file, &options);
	import_checked(&services, run, &options);
	import_checked(&services, link, &options);
	import_checked(&services, empty, &options);
	import_checked(&services, nothing, &options);
	services_release(&services);
}

static void many_directories(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct services services = tree_test_services();
	struct import_options options = { .no_cache = true, .name = "many", .memory = 1 };

	(void)state;
	for (int i = 0; i < 1500; i++) {
		char *below AUTO_FREE = mem_printf("%s/%d", dir, i);

		assert_int_equal(mkdir(below, 0755), 0);
		if (i % 3 != 0)
			tree_test_write(below, "file", &i, sizeof(i));
	}
	import_checked(&services, dir, &options);
	services_release(&services);
}

/* ---- Names ---- */

static void names(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct services services = tree_test_services();
	struct path_info info = { 0 };
	struct err err = ERR_INIT;
	char *odd AUTO_FREE = mem_printf("%s/not a name", dir);
	char *slashes AUTO_FREE = mem_printf("%s/good///", dir);
	char *dot AUTO_FREE = mem_printf("%s/good/.", dir);
	struct import_options named = { .name = "a/b", .no_cache = true },
			      plain = { .no_cache = true };

	(void)state;
	/* Refused before anything is read: it does not even exist. */
	assert_rc(RC_INVALID, tree_import(&services, &op_none, odd, &plain, &info, NULL, &err),
		  &err);
	assert_says(&err, "--name");
	assert_says(&err, "not a name");
	assert_rc(RC_INVALID, tree_import(&services, &op_none, odd, &named, &info, NULL, &err),
		  &err);
	assert_rc(RC_NOT_FOUND,
		  tree_import(&services, &op_none, slashes, &plain, &info, NULL, &err), &err);
	assert_int_equal(mkdir(slashes, 0755), 0);
	assert_ok(tree_import(&services, &op_none, slashes, &plain, &info, NULL, &err), &err);
	assert_string_equal(info.path.name, "good");
	path_info_release(&info);
	assert_ok(tree_import(&services, &op_none, dot, &plain, &info, NULL, &err), &err);
	assert_string_equal(info.path.name, "good");
	path_info_release(&info);
	services_release(&services);
}

/* ---- Failures ---- */

static void nothing_published(const struct services *services)
{
	struct path_info_iter *iter;
	struct path_info info;
	struct err err = ERR_INIT;
	bool end;

	assert_ok(path_info_service_list(services->path_infos, &op_none, NULL, &iter, &err), &err);
	assert_ok(path_info_iter_next(iter, &op_none, &info, &end, &err), &err);
	assert_true(end);
	path_info_iter_free(iter);
}

static void refused_trees_publish_nothing(void **state)
{
	struct testing_random random = testing_random_from_env();
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct services services = tree_test_services();
	struct import_options options = { .no_cache = true, .name = "x", .memory = 1 };
	char *bad AUTO_FREE = mem_printf("%s/m", dir);
	struct path_info info;
	struct err err = ERR_INIT;
	bool root = geteuid() == 0;

	(void)state;
	tree_test_write_random(dir, "a", 6 << 20, &random);
	tree_test_write_random(dir, "z", 6 << 20, &random);
	assert_int_equal(mkfifo(bad, 0644), 0);
	assert_rc(RC_UNSUPPORTED,
		  tree_import(&services, &op_none, dir, &options, &info, NULL, &err), &err);
	assert_int_equal(unlink(bad), 0);

	for (size_t size = 10; size <= 2 << 20; size += (2 << 20) - 10) {
		tree_test_write_random(dir, "m", size, &random);
		assert_int_equal(chmod(bad, 0), 0);
		if (root) {
			assert_int_equal(chmod(dir, 0755), 0);
			assert_int_equal(seteuid(65534), 0);
		}
		assert_rc(RC_DENIED,
			  tree_import(&services, &op_none, dir, &options, &info, NULL, &err), &err);
		if (root)
			assert_int_equal(seteuid(0), 0);
		assert_says(&err, "/m");
		assert_int_equal(chmod(bad, 0644), 0);
	}
	nothing_published(&services);
	services_release(&services);
}

struct background {
	const struct services *services;
	const char *path;
	struct import_options options;
	struct op op;
	atomic_bool cancel;
	enum rc rc;
	struct err err;
	pthread_t thread;
};

static void *background_main(void *arg)
{
	struct background *b = arg;
	struct path_info info;

	b->rc = tree_import(b->services, &b->op, b->path, &b->options, &info, NULL, &b->err);
	if (b->rc == RC_OK)
		path_info_release(&info);
	return NULL;
}

/* An import whose first encoding hangs, so that the window fills and the walk stands still. */
static void background_start(struct background *b, const struct services *services,
			     const char *path)
{
	b->services = services;
	b->path = path;
	b->options =
		(struct import_options){ .no_cache = true, .name = "x", .memory = 1, .threads = 1 };
	atomic_init(&b->cancel, false);
	b->op = (struct op){ .cancel = &b->cancel };
	assert_int_equal(pthread_create(&b->thread, NULL, background_main, b), 0);
}

struct disturbed {
	struct services inner, services;
	struct double_plan plan;
};

static void disturb(struct disturbed *d, unsigned where, bool hang)
{
	memset(d, 0, sizeof(*d));
	d->inner = tree_test_services();
	atomic_store(&d->plan.where, where);
	atomic_store(&d->plan.hang, hang);
	double_services(&d->inner, &d->plan, &d->services);
}

static void disturbed_release(struct disturbed *d)
{
	services_release(&d->services);
	services_release(&d->inner);
}

static void changed_while_read(void **state)
{
	struct testing_random random = testing_random_from_env();
	AUTO_TESTING_DIR char *dir = testing_dir();
	char *path AUTO_FREE = mem_printf("%s/a", dir);
	struct disturbed d;
	struct background b;
	FILE *file;

	(void)state;
	tree_test_write_random(dir, "a", 20 << 20, &random);
	disturb(&d, DOUBLE_WRITE, true);
	background_start(&b, &d.services, dir);
	assert_true(double_plan_wait_hanging(&d.plan, 1));
	file = fopen(path, "ab");
	fputc('x', file);
	fclose(file);
	atomic_store(&d.plan.hang, false);
	pthread_join(b.thread, NULL);
	assert_rc(RC_FAILED_PRECONDITION, b.rc, &b.err);
	assert_says(&b.err, "/a changed while it was read");

	atomic_store(&d.plan.hang, true);
	background_start(&b, &d.services, dir);
	assert_true(double_plan_wait_hanging(&d.plan, 1));
	assert_int_equal(truncate(path, 10 << 20), 0);
	atomic_store(&d.plan.hang, false);
	pthread_join(b.thread, NULL);
	assert_rc(RC_FAILED_PRECONDITION, b.rc, &b.err);
	nothing_published(&d.inner);
	disturbed_release(&d);
}

static void vanished_meanwhile(void **state)
{
	struct testing_random random = testing_random_from_env();
	AUTO_TESTING_DIR char *dir = testing_dir();
	char *path AUTO_FREE = mem_printf("%s/z", dir);
	struct disturbed d;
	struct background b;

	(void)state;
	tree_test_write_random(dir, "a", 8 << 20, &random);
	tree_test_write(dir, "z", "z", 1);
	disturb(&d, DOUBLE_WRITE, true);
	background_start(&b, &d.services, dir);
	assert_true(double_plan_wait_hanging(&d.plan, 1));
	assert_int_equal(unlink(path), 0);
	atomic_store(&d.plan.hang, false);
	pthread_join(b.thread, NULL);
	assert_rc(RC_FAILED_PRECONDITION, b.rc, &b.err);
	assert_says(&b.err, "/z vanished");
	nothing_published(&d.inner);
	disturbed_release(&d);
}

static void cancelled(void **state)
{
	struct testing_random random = testing_random_from_env();
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct disturbed d;
	struct background b;

	(void)state;
	tree_test_write_random(dir, "a", 8 << 20, &random);
	disturb(&d, DOUBLE_WRITE, true);
	background_start(&b, &d.services, dir);
	assert_true(double_plan_wait_hanging(&d.plan, 1));
	atomic_store(&b.cancel, true);
	pthread_join(b.thread, NULL);
	assert_rc(RC_CANCELLED, b.rc, &b.err);
	nothing_published(&d.inner);
	disturbed_release(&d);
}

/* Whatever call of the store fails: its outcome comes out, and nothing is left behind. */
static void failing_store(void **state)
{
	static const unsigned kinds[] = { DOUBLE_OPEN, DOUBLE_WRITE, DOUBLE_COMMIT };
	struct testing_random random = testing_random_from_env();
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct import_options options = { .no_cache = true, .name = "x", .memory = 8 << 20 };

	(void)state;
	for (int i = 0; i < 40; i++) {
		char *name AUTO_FREE = mem_printf("%d", i);

		tree_test_write_random(dir, name, i % 10 == 0 ? 3 << 20 : 5000, &random);
	}
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		for (unsigned skip = 0; skip < 100; skip = 2 * skip + 1) {
			struct disturbed d;
			struct path_info info;
			struct err err = ERR_INIT;
			enum rc rc;

			disturb(&d, kinds[i], false);
			atomic_store(&d.plan.skip, skip);
			atomic_store(&d.plan.rc, RC_NO_SPACE);
			rc = tree_import(&d.services, &op_none, dir, &options, &info, NULL, &err);
			if (skip < atomic_load(&d.plan.calls)) {
				assert_rc(RC_NO_SPACE, rc, &err);
				nothing_published(&d.inner);
			} else {
				assert_ok(rc, &err);
				path_info_release(&info);
			}
			disturbed_release(&d);
		}
	}
}

/* ---- Progress ---- */

static void count_report(void *context, const struct import_progress *progress)
{
	*(unsigned *)context += progress->files <= 40 ? 1 : 1000;
}

static void progress_is_reported(void **state)
{
	struct testing_random random = testing_random_from_env();
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct services services = tree_test_services();
	struct import_progress stats;
	unsigned reports = 0;
	struct import_options options = { .no_cache = true,
					  .name = "x",
					  .progress = count_report,
					  .progress_context = &reports };

	(void)state;
	for (int i = 0; i < 40; i++) {
		char *name AUTO_FREE = mem_printf("%d", i);

		tree_test_write_random(dir, name, 5000, &random);
	}
	stats = import_checked(&services, dir, &options);
	assert_in_range(reports, 1, 999);
	assert_int_equal(stats.files, 40);
	assert_int_equal(stats.directories, 1);
	assert_int_equal(stats.bytes, 40 * 5000);
	assert_int_equal(stats.bytes_read, 40 * 5000);
	assert_int_equal(stats.bytes_stored, 40 * 5000);
	stats = import_checked(&services, dir, &options);
	assert_int_equal(stats.bytes_read, 40 * 5000);
	assert_int_equal(stats.bytes_stored, 0);
	services_release(&services);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_trees),
		cmocka_unit_test(a_store_on_disk),
		cmocka_unit_test(large_file),
		cmocka_unit_test(roots_of_every_kind),
		cmocka_unit_test(many_directories),
		cmocka_unit_test(names),
		cmocka_unit_test(refused_trees_publish_nothing),
		cmocka_unit_test(changed_while_read),
		cmocka_unit_test(vanished_meanwhile),
		cmocka_unit_test(cancelled),
		cmocka_unit_test(failing_store),
		cmocka_unit_test(progress_is_reported),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
