/* The walk of a tree: its order, its limits, and what it says of files that changed. */
#include "transfer/tree_walk.h"

#include <errno.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tree_test_util.h"
#include "castore/node.h"

struct walked {
	struct tree_walk *walk;
	struct tree_walk_event event;
	struct err err;
};

static enum rc next(struct walked *walked)
{
	return tree_walk_next(walked->walk, &walked->event, &walked->err);
}

/* To the first failure or the end. */
static enum rc walk_all(const char *path, struct err *err)
{
	struct tree_walk *walk;
	struct tree_walk_event event;
	enum rc rc = tree_walk_new(path, NULL, &walk, err);

	do {
		if (rc == RC_OK)
			rc = tree_walk_next(walk, &event, err);
	} while (rc == RC_OK && event.kind != TREE_WALK_END);
	tree_walk_free(walk);
	return rc;
}

static void order_is_bytewise(void **state)
{
	static const char *const names[] = { "B", "a", "a.b", "ab", "a\xff", "\x01", "b" };
	static const char *const sorted[] = { "\x01", "B", "a", "a.b", "ab", "a\xff", "b" };
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct walked w = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		tree_test_write(dir, names[i], names[i], strlen(names[i]));
	assert_ok(tree_walk_new(dir, NULL, &w.walk, &w.err), &w.err);
	assert_ok(next(&w), &w.err);
	assert_int_equal(w.event.kind, TREE_WALK_DIRECTORY);
	assert_int_equal(w.event.name.len, 0);
	for (size_t i = 0; i < ARRAY_LEN(sorted); i++) {
		assert_ok(next(&w), &w.err);
		assert_int_equal(w.event.kind, TREE_WALK_FILE);
		assert_view_equal(w.event.name, view_of_string(sorted[i]));
		assert_int_equal(w.event.stat.size, strlen(sorted[i]));
	}
	assert_ok(next(&w), &w.err);
	assert_int_equal(w.event.kind, TREE_WALK_DIRECTORY_END);
	assert_ok(next(&w), &w.err);
	assert_int_equal(w.event.kind, TREE_WALK_END);
	assert_ok(next(&w), &w.err);
	assert_int_equal(w.event.kind, TREE_WALK_END);
	tree_walk_free(w.walk);
}

static unsigned open_descriptors(void)
{
	unsigned count = 0;
	DIR *dir = opendir("/proc/self/fd");

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

/* A chain of directories named "d" below dir, with a file after each way back. */
static void make_chain(const char *dir, unsigned depth)
{
	int at = open(dir, O_RDONLY | O_DIRECTORY);

	for (unsigned i = 0; i < depth; i++) {
		int below;

		assert_int_equal(mkdirat(at, "d", 0755), 0);
		below = openat(at, "z", O_CREAT | O_WRONLY, 0644);
		assert_true(below >= 0);
		close(below);
		below = openat(at, "d", O_RDONLY | O_DIRECTORY);
		assert_true(below >= 0);
		close(at);
		at = below;
	}
	close(at);
}

static void deep_trees_hold_few_descriptors(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct walked w = { 0 };
	unsigned before = open_descriptors(), files = 0;

	(void)state;
	make_chain(dir, NODE_DEPTH_MAX - 1);
	assert_ok(tree_walk_new(dir, NULL, &w.walk, &w.err), &w.err);
	do {
		assert_ok(next(&w), &w.err);
		files += w.event.kind == TREE_WALK_FILE;
		assert_true(tree_walk_open_dirs(w.walk) <= TREE_WALK_DESCRIPTORS + 1);
		assert_true(open_descriptors() <= before + TREE_WALK_DESCRIPTORS + 1);
	} while (w.event.kind != TREE_WALK_END);
	assert_int_equal(files, NODE_DEPTH_MAX - 1);
	tree_walk_free(w.walk);
	assert_int_equal(open_descriptors(), before);
}

static void too_deep(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct err err = ERR_INIT;

	(void)state;
	make_chain(dir, NODE_DEPTH_MAX);
	assert_rc(RC_TOO_LARGE, walk_all(dir, &err), &err);
	assert_says(&err, "1000");
}

/* The limit is on nodes of every kind, as everywhere: an empty directory may be one deeper than one
 * with a file in it. */
static void a_file_is_a_level_too(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct err err = ERR_INIT;
	int at, below;

	(void)state;
	make_chain(dir, NODE_DEPTH_MAX - 1);
	assert_ok(walk_all(dir, &err), &err);
	at = open(dir, O_RDONLY | O_DIRECTORY);
	while ((below = openat(at, "d", O_RDONLY | O_DIRECTORY)) >= 0) {
		close(at);
		at = below;
	}
	assert_int_equal(close(openat(at, "file", O_CREAT | O_WRONLY, 0644)), 0);
	close(at);
	assert_rc(RC_TOO_LARGE, walk_all(dir, &err), &err);
}

static void a_moved_parent_is_noticed(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	char *low AUTO_FREE = NULL, *away AUTO_FREE = mem_printf("%s/away", dir);
	struct buf path CLEANUP(buf_release) = BUF_INIT;
	struct walked w = { 0 };
	enum rc rc;

	(void)state;
	make_chain(dir, TREE_WALK_DESCRIPTORS + 10);
	assert_ok(tree_walk_new(dir, NULL, &w.walk, &w.err), &w.err);
	for (unsigned i = 0; i < TREE_WALK_DESCRIPTORS + 11; i++) {
		assert_ok(next(&w), &w.err);
		assert_int_equal(w.event.kind, TREE_WALK_DIRECTORY);
	}
	/* The fifth directory, whose parent the walk has given up, goes elsewhere. */
	buf_printf(&path, "%s/d/d/d/d/d", dir);
	low = mem_strdup(buf_string(&path));
	assert_int_equal(rename(low, away), 0);
	do
		rc = next(&w);
	while (rc == RC_OK && w.event.kind != TREE_WALK_END);
	assert_rc(RC_FAILED_PRECONDITION, rc, &w.err);
	tree_walk_free(w.walk);
}

static void special_files_are_refused(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	char *path AUTO_FREE = mem_printf("%s/sp\necial", dir);
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct err err = ERR_INIT;
	int fd;

	(void)state;
	assert_int_equal(mkfifo(path, 0644), 0);
	assert_rc(RC_UNSUPPORTED, walk_all(dir, &err), &err);
	assert_says(&err, "sp\\x0aecial is a fifo");
	assert_rc(RC_UNSUPPORTED, walk_all(path, &err), &err);
	assert_int_equal(unlink(path), 0);

	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	assert_rc(RC_UNSUPPORTED, walk_all(dir, &err), &err);
	assert_says(&err, "socket");
	assert_int_equal(unlink(path), 0);

	assert_rc(RC_UNSUPPORTED, walk_all("/dev/null", &err), &err);
	assert_says(&err, "character device");
}

static void unreadable_things_are_denied(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	char *path AUTO_FREE = mem_printf("%s/closed", dir);
	struct err err = ERR_INIT;
	bool root = geteuid() == 0;

	(void)state;
	assert_int_equal(mkdir(path, 0), 0);
	if (root) {
		assert_int_equal(chmod(dir, 0755), 0);
		assert_int_equal(seteuid(65534), 0);
	}
	assert_rc(RC_DENIED, walk_all(dir, &err), &err);
	assert_says(&err, "/closed");
	if (root)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(chmod(path, 0700), 0);
}

static void missing_root(void **state)
{
	struct err err = ERR_INIT;

	(void)state;
	assert_rc(RC_NOT_FOUND, walk_all("/nonexistent/castor", &err), &err);
	assert_rc(RC_INVALID, walk_all("", &err), &err);
}

static void long_names_are_named_by_their_end(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct buf path CLEANUP(buf_release) = BUF_INIT;
	struct err err = ERR_INIT;

	(void)state;
	buf_append_string(&path, dir);
	for (int i = 0; i < 8; i++) {
		buf_append_byte(&path, '/');
		for (int n = 0; n < 255; n++)
			buf_append_byte(&path, (uint8_t)('a' + i));
		assert_int_equal(mkdir(buf_string(&path), 0755), 0);
	}
	buf_append_string(&path, "/fifo");
	assert_int_equal(mkfifo(buf_string(&path), 0644), 0);
	assert_rc(RC_UNSUPPORTED, walk_all(dir, &err), &err);
	assert_says(&err, "/fifo is a fifo");
}

/* Starts a walk over one file and returns what is opened of it. */
static int open_one(struct walked *w, const char *path)
{
	int fd = -1;

	assert_ok(tree_walk_new(path, NULL, &w->walk, &w->err), &w->err);
	assert_ok(next(w), &w->err);
	assert_int_equal(w->event.kind, TREE_WALK_FILE);
	assert_ok(tree_file_open(w->event.dir, w->event.open_name, w->event.quiet, &fd, &w->err),
		  &w->err);
	return fd;
}

static enum rc check(struct walked *w, int fd)
{
	return tree_file_check(w->event.dir, w->event.open_name, fd, &w->event.stat, &w->err);
}

static void changes_are_noticed(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	char *path AUTO_FREE = mem_printf("%s/file", dir),
		   *other AUTO_FREE = mem_printf("%s/other", dir);
	struct walked w = { 0 };
	int fd;

	(void)state;
	tree_test_write(dir, "file", "12345", 5);
	fd = open_one(&w, path);
	assert_ok(check(&w, fd), &w.err);
	assert_int_equal(truncate(path, 4), 0);
	assert_rc(RC_FAILED_PRECONDITION, check(&w, fd), &w.err);
	assert_says(&w.err, "/file changed");
	close(fd);
	tree_walk_free(w.walk);

	/* The same content and size, but another file. */
	tree_test_write(dir, "file", "12345", 5);
	tree_test_write(dir, "other", "12345", 5);
	assert_ok(tree_walk_new(path, NULL, &w.walk, &w.err), &w.err);
	assert_ok(next(&w), &w.err);
	assert_int_equal(rename(other, path), 0);
	assert_ok(tree_file_open(w.event.dir, w.event.open_name, true, &fd, &w.err), &w.err);
	assert_rc(RC_FAILED_PRECONDITION, check(&w, fd), &w.err);
	close(fd);

	/* A symlink in its place is not followed. */
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	assert_rc(RC_FAILED_PRECONDITION,
		  tree_file_open(w.event.dir, w.event.open_name, true, &fd, &w.err), &w.err);
	tree_walk_free(w.walk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(order_is_bytewise),
		cmocka_unit_test(deep_trees_hold_few_descriptors),
		cmocka_unit_test(too_deep),
		cmocka_unit_test(a_file_is_a_level_too),
		cmocka_unit_test(a_moved_parent_is_noticed),
		cmocka_unit_test(special_files_are_refused),
		cmocka_unit_test(unreadable_things_are_denied),
		cmocka_unit_test(missing_root),
		cmocka_unit_test(long_names_are_named_by_their_end),
		cmocka_unit_test(changes_are_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
