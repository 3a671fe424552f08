#include "unit/testing.h"

#include "castore/closure.h"
#include "unit/castore/messages.h"
#include "unit/castore/vectors.h"

static struct directory *vector(size_t i)
{
	CLEANUP(buf_release) struct buf message = BUF_INIT;
	struct directory *dir;
	struct err err = ERR_INIT;

	testing_unhex(vector_messages[i], &message);
	assert_ok(directory_decode(buf_view(&message), &dir, &err), &err);
	return dir;
}

static void upload_ok(struct closure_upload *upload, const struct directory *dir, bool is_fresh)
{
	struct err err = ERR_INIT;
	bool fresh = !is_fresh;

	assert_ok(closure_upload_add(upload, dir, &fresh, &err), &err);
	assert_int_equal(fresh, is_fresh);
}

static void upload_bad(struct closure_upload *upload, const struct directory *dir, const char *says)
{
	struct err err = ERR_INIT;
	bool fresh = true;

	assert_rc(strstr(says, "deeper") ? RC_TOO_LARGE : RC_INVALID,
		  closure_upload_add(upload, dir, &fresh, &err), &err);
	assert_says(&err, says);
	assert_false(fresh);
}

static void upload_ends(struct closure_upload *upload, const struct directory *root)
{
	struct err err = ERR_INIT;
	struct digest digest;

	assert_ok(closure_upload_finish(upload, &digest, &err), &err);
	assert_true(digest_equal(&digest, directory_digest(root)));
	closure_upload_free(upload);
}

static void golden_tree(void **state)
{
	struct closure_upload *upload = closure_upload_new();
	struct closure_download *download;
	struct directory *dirs[VECTOR_DIRECTORIES];
	struct err err = ERR_INIT;

	(void)state;
	for (size_t i = 0; i < VECTOR_DIRECTORIES; i++)
		dirs[i] = vector(i);
	for (size_t i = VECTOR_DIRECTORIES; i-- > 0;)
		upload_ok(upload, dirs[i], true);
	upload_ok(upload, dirs[2], false);
	upload_ends(upload, dirs[0]);
	download = closure_download_new(directory_digest(dirs[0]));
	for (size_t i = 0; i < VECTOR_DIRECTORIES; i++) {
		assert_rc(RC_CORRUPT, closure_download_finish(download, &err), &err);
		assert_says(&err, "is missing");
		assert_ok(closure_download_add(download, dirs[i], &err), &err);
	}
	assert_ok(closure_download_finish(download, &err), &err);
	closure_download_free(download);
	for (size_t i = 0; i < VECTOR_DIRECTORIES; i++)
		directory_unref(dirs[i]);
	closure_upload_free(NULL);
	closure_download_free(NULL);
}

/* leaf: 2 files; parents by either rule, and by none. */
struct family {
	struct directory *leaf;
	struct directory *by_two;
	struct directory *by_one;
	struct directory *wrong;
	struct directory *top; /* of by_two and by_one */
};

static struct directory *parent_of(const struct directory *child, uint64_t size)
{
	struct node node = a_directory("child", child);

	node.size = size;
	return make_directory(&node, 1);
}

static void family_make(struct family *family)
{
	const struct node files[] = { a_file("a", 1, false), a_file("b", 1, false) };
	struct node children[2];

	family->leaf = make_directory(files, 2);
	family->by_two = parent_of(family->leaf, 4);
	family->by_one = parent_of(family->leaf, 2);
	family->wrong = parent_of(family->leaf, 3);
	children[0] = a_directory("by-two", family->by_two);
	children[1] = a_directory("by-one", family->by_one);
	family->top = make_directory(children, 2);
}

static void family_release(struct family *family)
{
	directory_unref(family->leaf);
	directory_unref(family->by_two);
	directory_unref(family->by_one);
	directory_unref(family->wrong);
	directory_unref(family->top);
}

static void uploads(void **state)
{
	struct closure_upload *upload = closure_upload_new();
	struct err err = ERR_INIT;
	struct family f;
	struct digest root;

	(void)state;
	family_make(&f);
	assert_rc(RC_INVALID, closure_upload_finish(upload, &root, &err), &err);
	assert_says(&err, "no directory was sent");
	upload_bad(upload, f.by_two, "entry 'child': the directory that it refers to was not sent");
	upload_ok(upload, f.leaf, true);
	upload_bad(upload, f.wrong, "entry 'child': the size field is 3, which should be 4");
	upload_ok(upload, f.by_two, true);
	/* Nothing of what was refused is remembered. */
	assert_ok(closure_upload_finish(upload, &root, &err), &err);
	assert_true(digest_equal(&root, directory_digest(f.by_two)));
	upload_ok(upload, f.by_one, true);
	assert_rc(RC_INVALID, closure_upload_finish(upload, &root, &err), &err);
	assert_says(&err, "nothing refers to directory ");
	upload_ok(upload, f.leaf, false);
	upload_ok(upload, f.top, true);
	upload_ok(upload, f.by_one, false);
	upload_ends(upload, f.top);

	/* A repeat of the root, and of the only one. */
	upload = closure_upload_new();
	upload_ok(upload, f.leaf, true);
	upload_ok(upload, f.leaf, false);
	upload_ends(upload, f.leaf);
	/* Two roots. */
	upload = closure_upload_new();
	upload_ok(upload, f.leaf, true);
	upload_ok(upload, f.by_one, true);
	upload_ok(upload, f.by_two, true);
	assert_rc(RC_INVALID, closure_upload_finish(upload, &root, &err), &err);
	{
		char hex[DIGEST_HEX_MAX];

		digest_hex(directory_digest(f.by_one), hex);
		assert_says(&err, hex);
	}
	closure_upload_free(upload);
	family_release(&f);
}

static void download_bad(struct closure_download *download, const struct directory *dir,
			 const char *says)
{
	struct err err = ERR_INIT;

	assert_rc(RC_CORRUPT, closure_download_add(download, dir, &err), &err);
	assert_says(&err, says);
	closure_download_free(download);
}

static void downloads(void **state)
{
	struct closure_download *download;
	struct err err = ERR_INIT;
	struct family f;

	(void)state;
	family_make(&f);
	/* Both parents refer to one child, each by its own rule. */
	download = closure_download_new(directory_digest(f.top));
	assert_ok(closure_download_add(download, f.top, &err), &err);
	assert_ok(closure_download_add(download, f.by_one, &err), &err);
	assert_ok(closure_download_add(download, f.leaf, &err), &err);
	assert_ok(closure_download_add(download, f.by_two, &err), &err);
	assert_ok(closure_download_finish(download, &err), &err);
	closure_download_free(download);

	download = closure_download_new(directory_digest(f.top));
	download_bad(download, f.leaf, "nothing before it refers to it");
	download = closure_download_new(directory_digest(f.top));
	assert_ok(closure_download_add(download, f.top, &err), &err);
	download_bad(download, f.top, "it came twice");
	download = closure_download_new(directory_digest(f.wrong));
	assert_ok(closure_download_add(download, f.wrong, &err), &err);
	download_bad(download, f.leaf, "is 3, which should be 4");
	family_release(&f);
}

/* A wrong size that comes to light when the child came before, and when it is one of three. */
static void late_sizes(void **state)
{
	struct closure_download *download;
	struct err err = ERR_INIT;
	struct node children[3];
	struct directory *top, *three;
	struct family f;

	(void)state;
	family_make(&f);
	children[0] = a_directory("a", f.leaf);
	children[1] = a_directory("b", f.wrong);
	top = make_directory(children, 2);
	download = closure_download_new(directory_digest(top));
	assert_ok(closure_download_add(download, top, &err), &err);
	assert_ok(closure_download_add(download, f.leaf, &err), &err);
	download_bad(download, f.wrong, "size field 3 is wrong");
	directory_unref(top);

	for (int i = 0; i < 3; i++) {
		static const char *const names[] = { "a", "b", "c" };

		children[i] = a_directory(names[i], f.leaf);
		children[i].size = (uint64_t)i + 2;
	}
	three = make_directory(children, 3);
	download = closure_download_new(directory_digest(three));
	download_bad(download, three, "size field 4 is wrong");
	directory_unref(three);
	family_release(&f);
}

static void depth(void **state)
{
	struct closure_upload *upload = closure_upload_new();
	struct directory *dir = make_directory(NULL, 0);
	struct directory *with_file;

	(void)state;
	upload_ok(upload, dir, true);
	/* The root has depth 1: the innermost, empty, has depth NODE_DEPTH_MAX. */
	for (int level = 2; level <= NODE_DEPTH_MAX; level++) {
		struct directory *next = parent_of(dir, directory_size(dir));

		directory_unref(dir);
		dir = next;
		upload_ok(upload, dir, true);
	}
	{
		const struct node nodes[] = { a_directory("d", dir), a_file("f", 1, false) };

		with_file = make_directory(nodes, 2);
	}
	upload_bad(upload, with_file, "deeper than 1000");
	directory_unref(with_file);
	upload_ends(upload, dir);
	directory_unref(dir);

	/* A file is a level, too. */
	upload = closure_upload_new();
	{
		const struct node file = a_file("f", 1, false);

		dir = make_directory(&file, 1);
	}
	upload_ok(upload, dir, true);
	for (int level = 3; level <= NODE_DEPTH_MAX; level++) {
		struct directory *next = parent_of(dir, directory_size(dir));

		directory_unref(dir);
		dir = next;
		upload_ok(upload, dir, true);
	}
	with_file = parent_of(dir, directory_size(dir));
	upload_bad(upload, with_file, "deeper than 1000");
	directory_unref(with_file);
	upload_ends(upload, dir);
	directory_unref(dir);
}

/* Random graphs: what an upload takes, a download takes in reverse. */
static void random_graphs(void **state)
{
	struct testing_random random = testing_random_from_env();

	(void)state;
	for (int round = 0; round < 50; round++) {
		enum { MOST = 60, CHILDREN = 5 };
		struct closure_upload *upload = closure_upload_new();
		struct closure_download *download;
		struct directory *dirs[MOST + 1];
		bool referred[MOST + 1] = { false };
		struct node nodes[MOST + 1];
		char names[MOST + 1][8];
		size_t count = 0, loose = 0;
		struct err err = ERR_INIT;

		for (size_t i = 0; i < MOST; i++)
			snprintf(names[i], sizeof(names[i]), "n%zu", i);
		while (count < MOST) {
			size_t children = count ? testing_below(&random, CHILDREN) : 0;

			for (size_t c = 0; c < children; c++) {
				size_t child = testing_below(&random, count);

				nodes[c] = a_directory(names[c], dirs[child]);
				referred[child] = true;
			}
			/* Its own number makes it unlike all others. */
			nodes[children] = a_file("self", count + 1, false);
			dirs[count++] = make_directory(nodes, children + 1);
		}
		for (size_t i = 0; i < count; i++)
			if (!referred[i])
				nodes[loose] = a_directory(names[loose], dirs[i]), loose++;
		dirs[count++] = make_directory(nodes, loose);
		for (size_t i = 0; i < count; i++)
			upload_ok(upload, dirs[i], true);
		upload_ends(upload, dirs[count - 1]);
		download = closure_download_new(directory_digest(dirs[count - 1]));
		for (size_t i = count; i-- > 0;)
			assert_ok(closure_download_add(download, dirs[i], &err), &err);
		assert_ok(closure_download_finish(download, &err), &err);
		closure_download_free(download);
		for (size_t i = 0; i < count; i++)
			directory_unref(dirs[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden_tree), cmocka_unit_test(uploads),
		cmocka_unit_test(downloads),   cmocka_unit_test(late_sizes),
		cmocka_unit_test(depth),       cmocka_unit_test(random_graphs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
