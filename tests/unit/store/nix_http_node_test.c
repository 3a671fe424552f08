/* Caches whose URLs name a node: what is here already, or at the other end, need not come as a NAR. */
#include "unit/store/nix_http_site.h"

#include "store/nix_fetch.h"

static enum rc take_view(void *context, void *out, size_t len, size_t *got, struct err *err)
{
	struct view *left = context;

	(void)err;
	*got = len < left->len ? len : left->len;
	memcpy(out, left->ptr, *got);
	*left = view_slice(*left, *got, left->len - *got);
	return RC_OK;
}

/* Stores a NAR there; the URL for its root node in *out. */
static void store_nar(struct site *site, const struct services *there, const struct buf *nar,
		      const char *format, char **out)
{
	struct view left = buf_view(nar);
	AUTO_BUF bytes = BUF_INIT, text = BUF_INIT;
	struct nar_facts facts;
	struct node root;
	struct view node;
	const char *mark = strchr(format, '@');

	assert_ok(nar_import(there, &op_none, take_view, &left, &root, &facts, &site->err),
		  &site->err);
	node_encode(&root, false, &bytes);
	base64_encode(BASE64_URL, buf_view(&bytes), &text);
	node = buf_view(&text);
	*out = mem_printf("%.*s%.*s%s", (int)(mark - format), format, (int)node.len,
			  (const char *)node.ptr, mark + 1);
	node_release(&root);
}

static const char *const node_urls[] = {
	"nar/@/00112233445566778899aabbccddeeff.nar.zst",
	"nar/snix-castore/@?narsize=568",
	"nar/tvix-castore/@?narsize=568",
};

static struct services memory_services(void)
{
	return (struct services){ .blobs = blob_memory_new(),
				  .directories = directory_memory_new() };
}

/* All of it is here already: nothing is downloaded. */
static void test_nodes_that_are_here(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(node_urls); i++) {
		char *url AUTO_FREE = NULL;
		struct site site;

		open_site(&site);
		store_nar(&site, &site.near, &site.nar, node_urls[i], &url);
		set_url(&site, url);
		publish(&site);
		expect_content(&site);
		assert_int_equal(site.nars, 0);
		close_site(&site);
	}
}

/* It is where the cache keeps it: what is missing comes from there. */
static void test_nodes_that_are_far(void **state)
{
	struct services far = memory_services();
	char *url AUTO_FREE = NULL;
	struct site site;

	(void)state;
	open_site(&site);
	store_nar(&site, &far, &site.nar, node_urls[0], &url);
	set_url(&site, url);
	publish(&site);
	connect_to(&site, &far);
	expect_content(&site);
	assert_int_equal(site.nars, 0);
	close_site(&site);
	services_release(&far);
}

/* Nowhere, or it is another one: then the NAR is read, and nobody hears of it. */
static void test_nodes_that_do_not_help(void **state)
{
	AUTO_BUF other = BUF_INIT;

	(void)state;
	nar_begin(&other);
	nar_file_begin(&other, false, 0);
	nar_file_end(&other, 0);
	for (int here = 0; here < 3; here++) {
		struct services elsewhere = memory_services();
		char *url AUTO_FREE = NULL;
		struct site site;

		open_site(&site);
		store_nar(&site, here == 1 ? &site.near : &elsewhere, here ? &other : &site.nar,
			  node_urls[1], &url);
		set_url(&site, url);
		publish(&site);
		if (here == 2)
			connect_to(&site, &elsewhere);
		expect_content(&site);
		assert_int_equal(site.nars, 1);
		close_site(&site);
		services_release(&elsewhere);
	}
}

/* The cache's own services have megabytes under that name: it is left there. */
static void test_node_that_is_too_large(void **state)
{
	enum { SIZE = 4 << 20 };
	struct services far = memory_services();
	char *url AUTO_FREE = NULL;
	AUTO_BUF large = BUF_INIT;
	struct site site;
	struct digest blob;
	bool there;

	(void)state;
	open_site(&site);
	nar_begin(&large);
	nar_directory_begin(&large);
	nar_entry_begin(&large, view_of_string("large"));
	nar_file_begin(&large, false, SIZE);
	buf_append_zeros(&large, SIZE);
	blob = digest_of(view_of(large.ptr + large.len - SIZE, SIZE));
	nar_file_end(&large, SIZE);
	nar_entry_end(&large);
	nar_directory_end(&large);
	store_nar(&site, &far, &large, node_urls[1], &url);
	set_url(&site, url);
	publish(&site);
	connect_to(&site, &far);
	expect_content(&site);
	assert_int_equal(site.nars, 1);
	assert_ok(blob_service_has_many(site.near.blobs, &op_none, &blob, 1, &there, &site.err),
		  &site.err);
	assert_false(there);
	close_site(&site);
	services_release(&far);
}

/* 40 directories, each with the next one twice: a NAR of 2^40 entries. */
static void test_node_without_end(void **state)
{
	struct node below = { .kind = NODE_FILE, .digest = digest_of(view_of(NULL, 0)) };
	AUTO_BUF bytes = BUF_INIT, text = BUF_INIT;
	struct services far = memory_services();
	int64_t start = clock_monotonic_ns();
	struct directory_put *put;
	struct digest root;
	struct site site;
	char *url AUTO_FREE = NULL;

	(void)state;
	open_site(&site);
	assert_ok(directory_service_open_put(far.directories, &op_none, &put, &site.err),
		  &site.err);
	for (int i = 0; i < 40; i++) {
		struct directory *dir AUTO_DIRECTORY = NULL;
		struct node two[2] = { below, below };

		two[0].name = view_of_string("a");
		two[1].name = view_of_string("b");
		assert_ok(directory_from_nodes(two, 2, &dir, &site.err), &site.err);
		assert_ok(directory_put_add(put, &op_none, dir, &site.err), &site.err);
		below = (struct node){ .kind = NODE_DIRECTORY,
				       .digest = *directory_digest(dir),
				       .size = directory_size(dir) };
	}
	assert_ok(directory_put_close(put, &op_none, &root, &site.err), &site.err);
	directory_put_free(put);
	node_encode(&below, false, &bytes);
	base64_encode(BASE64_URL, buf_view(&bytes), &text);
	url = mem_printf("nar/snix-castore/%s?narsize=568", buf_string(&text));
	set_url(&site, url);
	publish(&site);
	connect_to(&site, &far);
	expect_content(&site);
	assert_int_equal(site.nars, 1);
	assert_true(clock_monotonic_ns() - start < 5 * NS_PER_S);
	close_site(&site);
	services_release(&far);
}

static void test_urls_without_a_node(void **state)
{
	static const char *const urls[] = {
		"nar/1awh0qwwpm1x2vyl2963d46sad3fwvc4wgbhbz7vn3w4hzvr4i4i.nar.xz",
		"nar/CgA/x.nar",
		"nar/snix-castore/",
		"nar/snix-castore/CgA",
		"nar/snix-castore/!!!",
		"elsewhere/x",
		"",
	};
	struct node node;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(urls); i++)
		assert_false(nix_url_node(urls[i], &node));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nodes_that_are_here),
		cmocka_unit_test(test_nodes_that_are_far),
		cmocka_unit_test(test_nodes_that_do_not_help),
		cmocka_unit_test(test_node_that_is_too_large),
		cmocka_unit_test(test_node_without_end),
		cmocka_unit_test(test_urls_without_a_node),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
