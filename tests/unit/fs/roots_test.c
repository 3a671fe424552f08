/* The root over a path-info service: names, listing, what the kernel may remember of it. */
#include "unit/fs/fake.h"

#include <errno.h>

#include "../damaged_paths.h"
#include "base/clock.h"
#include "base/log.h"
#include "double/double.h"
#include "service/path_info/memory.h"

static struct path_info make_info(uint8_t hash, const char *name, const struct node *node)
{
	struct path_info info = { .nar_size = 1 };
	char basename[STORE_PATH_BASENAME_MAX + 1];
	struct node named = *node;

	memset(info.path.hash, hash, sizeof(info.path.hash));
	snprintf(info.path.name, sizeof(info.path.name), "%s", name);
	store_path_basename(&info.path, basename);
	named.name = view_of_string(basename);
	node_copy(&info.node, &named);
	return info;
}

static void put(struct path_info_service *service, uint8_t hash, const char *name,
		const struct node *node)
{
	AUTO_PATH_INFO struct path_info info = make_info(hash, name, node);
	struct err err = ERR_INIT;

	assert_ok(path_info_service_put(service, &op_none, &info, NULL, &err), &err);
}

static char *basename_of(uint8_t hash, const char *name)
{
	struct store_path path;
	char *basename = mem_alloc(STORE_PATH_BASENAME_MAX + 1);

	memset(path.hash, hash, sizeof(path.hash));
	snprintf(path.name, sizeof(path.name), "%s", name);
	store_path_basename(&path, basename);
	return basename;
}

static struct fake *open_store(struct fake_store *store, struct path_info_service **service,
			       bool list, struct fuse_init_out *init)
{
	struct fake *fake;

	fake_store_open(store);
	*service = path_info_memory_new();
	fake = fake_open(store, roots_path_info_new(*service, list), NULL, NULL);
	fake_init(fake, UINT64_MAX, init);
	return fake;
}

static void close_store(struct fake *fake, struct fake_store *store,
			struct path_info_service *service)
{
	fake_close(fake);
	path_info_service_unref(service);
	fake_store_close(store);
}

static void lookups(void **state)
{
	AUTO_FREE char *right = basename_of(3, "hello-1.0");
	AUTO_FREE char *other = basename_of(3, "hello-2.0");
	AUTO_FREE char *absent = basename_of(4, "hello-1.0");
	CLEANUP(buf_release) struct buf got = BUF_INIT;
	struct path_info_service *service;
	struct fuse_entry_out entry;
	struct fuse_init_out init;
	struct fake_store store;
	struct fake *fake = open_store(&store, &service, false, &init);
	struct node node = fake_file(&store, "", "hi", 2, false);

	(void)state;
	assert_true(init.flags & FUSE_AUTO_INVAL_DATA);
	assert_int_equal(fake_lookup(fake, 1, view_of_string(right), &entry), -ENOENT);
	put(service, 3, "hello-1.0", &node);
	assert_int_equal(fake_lookup(fake, 1, view_of_string(right), &entry), 0);
	assert_true(entry.nodeid > 1);
	/* The path may go or be replaced; what it stands for does not change. */
	assert_true(entry.entry_valid > 0 && entry.entry_valid < 3600);
	assert_int_equal(entry.attr_valid, 0xffffffff);
	assert_int_equal(fake_read(fake, FUSE_READ, entry.nodeid, 0, 10, &got), 0);
	assert_view_equal(buf_view(&got), view_of_string("hi"));
	/* The same hash under another name, and a hash that may still come: never remembered. */
	assert_int_equal(fake_lookup(fake, 1, view_of_string(other), &entry), -ENOENT);
	assert_int_equal(fake_lookup(fake, 1, view_of_string(absent), &entry), -ENOENT);
	/* What is no store path never comes. */
	assert_int_equal(fake_lookup(fake, 1, view_of_string(".git"), &entry), 0);
	assert_int_equal(entry.nodeid, 0);
	assert_int_equal(entry.entry_valid, 0xffffffff);
	close_store(fake, &store, service);
}

static void listing_is_refused_unless_allowed(void **state)
{
	CLEANUP(buf_release) struct buf got = BUF_INIT;
	struct path_info_service *service;
	struct fuse_init_out init;
	struct fake_store store;
	struct fake *fake = open_store(&store, &service, false, &init);

	(void)state;
	assert_int_equal(fake_read(fake, FUSE_READDIR, 1, 0, 4096, &got), -EPERM);
	assert_int_equal(fake_read(fake, FUSE_READDIRPLUS, 1, 0, 4096, &got), -EPERM);
	assert_int_equal(got.len, 0);
	close_store(fake, &store, service);
}

static void listing(void **state)
{
	struct path_info_service *service;
	struct fuse_init_out init;
	struct fake_store store;
	struct fake *fake = open_store(&store, &service, true, &init);
	struct node node = fake_file(&store, "", "hi", 2, false);

	(void)state;
	for (int i = 255; i >= 0; i--)
		put(service, (uint8_t)i, "some-name", &node);
	for (uint32_t size = 200; size < 20000; size = size * 2 + 1) {
		uint64_t offset = 0;
		int count = 0;

		for (;;) {
			CLEANUP(buf_release) struct buf got = BUF_INIT;
			size_t at = 0;

			assert_int_equal(fake_read(fake, FUSE_READDIR, 1, offset, size, &got), 0);
			if (got.len == 0)
				break;
			while (at < got.len) {
				struct fuse_dirent dirent;
				AUTO_FREE char *expected = NULL;

				memcpy(&dirent, got.ptr + at, sizeof(dirent));
				if (count >= 2)
					expected = basename_of((uint8_t)(count - 2), "some-name");
				else
					expected = mem_strdup(count ? ".." : ".");
				assert_view_equal(
					view_of(got.ptr + at + sizeof(dirent), dirent.namelen),
					view_of_string(expected));
				assert_true(dirent.off > offset);
				assert_true(dirent.off < UINT64_C(1) << 63);
				offset = dirent.off;
				at += FUSE_REC_ALIGN(sizeof(dirent) + dirent.namelen);
				count++;
			}
		}
		assert_int_equal(count, 258);
	}
	close_store(fake, &store, service);
}

static size_t told(struct fake *fake)
{
	size_t count;

	pthread_mutex_lock(&fake->lock);
	count = fake->told;
	pthread_mutex_unlock(&fake->lock);
	return count;
}

/* Waits until the kernel was told as often; false: not within ten seconds. */
static bool wait_told(struct fake *fake, size_t count)
{
	for (int i = 0; i < 1000 && told(fake) < count; i++)
		clock_sleep_ns(10 * NS_PER_MS);
	return told(fake) == count;
}

static bool is_after(const struct fuse_attr_out *a, const struct fuse_attr_out *b)
{
	return a->attr.mtime > b->attr.mtime ||
	       (a->attr.mtime == b->attr.mtime && a->attr.mtimensec > b->attr.mtimensec);
}

static void root_moves_with_the_set(void **state)
{
	struct path_info_service *service;
	struct fuse_attr_out before, same, after;
	struct fuse_init_out init;
	struct fake_store store;
	struct fake *fake = open_store(&store, &service, true, &init);
	struct node node = fake_file(&store, "", "hi", 2, false);

	(void)state;
	assert_int_equal(fake_getattr(fake, 1, &before), 0);
	assert_int_equal(fake_getattr(fake, 1, &same), 0);
	assert_false(is_after(&same, &before));
	put(service, 1, "new", &node);
	assert_int_equal(fake_getattr(fake, 1, &after), 0);
	assert_true(is_after(&after, &before));
	close_store(fake, &store, service);
}

/* The kernel believes the root's attributes for ever, and is told, unasked, when they change. */
static void kernel_is_told(void **state)
{
	struct path_info_service *service;
	struct fuse_attr_out before, after;
	struct fuse_init_out init;
	struct fake_store store;
	struct fake *fake = open_store(&store, &service, true, &init);
	struct node node = fake_file(&store, "", "hi", 2, false);

	(void)state;
	/* A kernel that holds none of them is left in peace. */
	put(service, 1, "first", &node);
	clock_sleep_ns(200 * NS_PER_MS);
	assert_int_equal(told(fake), 0);
	assert_int_equal(fake_getattr(fake, 1, &before), 0);
	assert_int_equal(before.attr_valid, 0xffffffff);
	/* Nothing changed. */
	clock_sleep_ns(200 * NS_PER_MS);
	assert_int_equal(told(fake), 0);
	put(service, 2, "second", &node);
	assert_true(wait_told(fake, 1));
	/* Once is enough until it asks again. */
	put(service, 3, "third", &node);
	clock_sleep_ns(200 * NS_PER_MS);
	assert_int_equal(told(fake), 1);
	assert_int_equal(fake_getattr(fake, 1, &after), 0);
	assert_true(is_after(&after, &before));
	put(service, 4, "fourth", &node);
	assert_true(wait_told(fake, 2));
	close_store(fake, &store, service);
}

/* What could not be told is told later. */
static void telling_fails(void **state)
{
	struct path_info_service *service;
	struct fuse_attr_out attr;
	struct fuse_init_out init;
	struct fake_store store;
	struct fake *fake = open_store(&store, &service, true, &init);
	struct node node = fake_file(&store, "", "hi", 2, false);

	(void)state;
	fake->tell_result = -ENOMEM;
	assert_int_equal(fake_getattr(fake, 1, &attr), 0);
	put(service, 1, "new", &node);
	clock_sleep_ns(200 * NS_PER_MS);
	assert_int_equal(told(fake), 0);
	pthread_mutex_lock(&fake->lock);
	fake->tell_result = 0;
	pthread_mutex_unlock(&fake->lock);
	assert_true(wait_told(fake, 1));
	close_store(fake, &store, service);
}

/* A service that cannot tell: the kernel forgets what it asked for, again and again. */
static void service_that_cannot_tell(void **state)
{
	struct path_info_service *inner = path_info_memory_new();
	struct double_plan plan = { 0 };
	struct path_info_service *service;
	struct fuse_attr_out before, after;
	struct fuse_init_out init;
	struct fake_store store;
	struct fake *fake;

	(void)state;
	service = double_path_info_new(inner, &plan);
	fake_store_open(&store);
	fake = fake_open(&store, roots_path_info_new(service, true), NULL, NULL);
	fake_init(fake, UINT64_MAX, &init);
	assert_int_equal(fake_getattr(fake, 1, &before), 0);
	assert_int_equal(before.attr_valid, 0xffffffff);
	assert_true(wait_told(fake, 1));
	clock_sleep_ns(200 * NS_PER_MS);
	assert_int_equal(told(fake), 1);
	assert_int_equal(fake_getattr(fake, 1, &after), 0);
	assert_true(is_after(&after, &before));
	assert_true(wait_told(fake, 2));
	fake_close(fake);
	path_info_service_unref(service);
	path_info_service_unref(inner);
	fake_store_close(&store);
}

struct failing_roots {
	struct roots base;
	atomic_bool fails;
};

static void failing_free(struct roots *roots)
{
	free(CONTAINER_OF(roots, struct failing_roots, base));
}

static enum rc failing_generation(struct roots *roots, const struct op *op, uint64_t *out,
				  struct err *err)
{
	(void)op;
	*out = 0;
	if (atomic_load(&CONTAINER_OF(roots, struct failing_roots, base)->fails))
		return err_set(err, RC_IO, "not now");
	return RC_OK;
}

/* While a store cannot tell whether it changed, it may have. */
static void service_that_fails_to_tell(void **state)
{
	static const struct roots_ops ops = { .free = failing_free,
					      .generation = failing_generation };
	struct failing_roots *roots = mem_zalloc(sizeof(*roots));
	struct fuse_attr_out before, after;
	struct fuse_init_out init;
	struct fake_store store;
	struct fake *fake;

	(void)state;
	roots->base.ops = &ops;
	fake_store_open(&store);
	fake = fake_open(&store, &roots->base, NULL, NULL);
	fake_init(fake, UINT64_MAX, &init);
	assert_int_equal(fake_getattr(fake, 1, &before), 0);
	clock_sleep_ns(150 * NS_PER_MS);
	assert_int_equal(told(fake), 0);
	atomic_store(&roots->fails, true);
	assert_true(wait_told(fake, 1));
	assert_int_equal(fake_getattr(fake, 1, &after), 0);
	assert_true(is_after(&after, &before));
	fake_close(fake);
	fake_store_close(&store);
}

/* Who cannot be told must ask: a moment later. */
static void transport_without_notifications(void **state)
{
	struct path_info_service *service = path_info_memory_new();
	struct fuse_attr_out attr;
	struct fuse_init_out init;
	struct fake_store store;
	struct fake *fake;

	(void)state;
	fake_store_open(&store);
	fake = fake_open(&store, roots_path_info_new(service, true), NULL, &fake_plain_ops);
	fake_init(fake, UINT64_MAX, &init);
	assert_int_equal(fake_getattr(fake, 1, &attr), 0);
	assert_int_equal(attr.attr_valid, 0);
	assert_true(attr.attr_valid_nsec > 0 && attr.attr_valid_nsec <= 100000000);
	close_store(fake, &store, service);
}

static void explicit_list(void **state)
{
	struct fake_store store;
	struct node nodes[2];
	struct roots *roots;
	struct err err = ERR_INIT;

	(void)state;
	fake_store_open(&store);
	nodes[0] = fake_file(&store, "same", "1", 1, false);
	nodes[1] = fake_file(&store, "same", "2", 1, false);
	assert_rc(RC_INVALID, roots_list_new(nodes, 2, &roots, &err), &err);
	assert_null(roots);
	nodes[1].name = view_of_string("a/b");
	assert_rc(RC_INVALID, roots_list_new(nodes, 2, &roots, &err), &err);
	fake_store_close(&store);
}

static void count_lines(void *context, enum log_level level, const char *sentence)
{
	(void)level;
	*(unsigned *)context += strstr(sentence, "not listed: ") != NULL;
}

/* One that cannot be read hides no other, and is told of once. */
static void damage_is_left_out(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct services services = damaged_paths_open(dir);
	struct roots *roots = roots_path_info_new(services.path_infos, true);
	unsigned lines = 0;
	struct err err = ERR_INIT;

	(void)state;
	log_set_sink(count_lines, &lines);
	for (size_t at_once = 1; at_once <= DAMAGED_PATHS; at_once++) {
		struct root_entry entries[DAMAGED_PATHS];
		uint64_t after = 0;
		size_t total = 0, got;

		do {
			assert_ok(roots->ops->list(roots, &op_none, after, entries, at_once, &got,
						   &err),
				  &err);
			for (size_t i = 0; i < got; i++) {
				after = entries[i].next;
				node_release(&entries[i].node);
			}
			total += got;
		} while (got > 0);
		assert_int_equal(total, DAMAGED_PATHS - 1);
	}
	log_set_sink(NULL, NULL);
	assert_int_equal(lines, 1);
	roots->ops->free(roots);
	services_release(&services);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lookups),
		cmocka_unit_test(listing_is_refused_unless_allowed),
		cmocka_unit_test(listing),
		cmocka_unit_test(root_moves_with_the_set),
		cmocka_unit_test(kernel_is_told),
		cmocka_unit_test(telling_fails),
		cmocka_unit_test(service_that_cannot_tell),
		cmocka_unit_test(service_that_fails_to_tell),
		cmocka_unit_test(transport_without_notifications),
		cmocka_unit_test(explicit_list),
		cmocka_unit_test(damage_is_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
