/* Layouts of NARs: their bodies are the NAR, whole and in ranges, over every kind of store; what is
 * kept of them is what was made; what is damaged or missing is not served. */
#include "sample.h"

#include <zstd.h>

#include "local/local_store.h"
#include "local/pack_format.h"
#include "nix/nar_writer.h"
#include "sample_tree.h"
#include "service/blob/local.h"
#include "transfer/nar_body.h"
#include "transfer/nar_layouts.h"

/* Blobs on disk; the rest of a sample stays in memory. */
static void use_disk(struct sample *sample, const char *dir, uint64_t raw_files)
{
	struct local_policy policy = local_policy_default;
	struct local_store *store;
	struct err err = ERR_INIT;

	policy.raw_files = raw_files;
	assert_ok(local_store_open(dir, LOCAL_STORE_WRITE, &policy, &store, &err), &err);
	blob_batch_free(sample->batch);
	blob_service_unref(sample->services.blobs);
	sample->services.blobs = blob_local_new(store);
	sample->services.scratch = scratch_local_new(store);
	local_store_unref(store);
	assert_ok(blob_service_open_batch(sample->services.blobs, &op_none, &sample->batch, &err),
		  &err);
}

/* What plain bodies use; NULL: nothing. */
static struct nar_decoded *decoded_frames;

static void read_all(struct nar_layout *layout, struct blob_service *blobs, bool plain,
		     uint64_t from, uint64_t to, size_t step, struct buf *out)
{
	struct nar_body *body = nar_body_new(layout, blobs, plain, from, to);
	struct err err = ERR_INIT;
	size_t got;

	if (decoded_frames)
		nar_body_use(body, decoded_frames);
	do {
		buf_reserve(out, step);
		assert_ok(nar_body_read(body, &op_none, out->ptr + out->len, step, &got, &err),
			  &err);
		assert_true(got <= step);
		out->len += got;
	} while (got > 0);
	nar_body_free(body);
}

static void expect_ranges(struct nar_layout *layout, struct blob_service *blobs, bool plain,
			  const struct buf *whole, uint64_t seed)
{
	struct testing_random random = testing_random_of(seed);

	for (int i = 0; i < 12; i++) {
		static const size_t steps[] = { 1000, 64 << 10, 300000, 4 << 20 };
		size_t from = testing_below(&random, whole->len + 1);
		size_t to = from + testing_below(&random, whole->len - from + 1);
		AUTO_BUF part = BUF_INIT;

		read_all(layout, blobs, plain, from, to, steps[i % 4], &part);
		assert_view_equal(buf_view(&part), view_slice(buf_view(whole), from, to - from));
	}
}

/* With a cache for all frames, one for some, and one for none; filled, and then used. */
static void expect_cached(struct nar_layout *layout, struct blob_service *blobs,
			  const struct buf *nar)
{
	static const size_t budgets[] = { 1 << 30, 300 << 10, 0 };

	for (size_t i = 0; i < ARRAY_LEN(budgets); i++) {
		decoded_frames = nar_decoded_new(budgets[i]);
		for (int round = 0; round < 3; round++) {
			AUTO_BUF plain = BUF_INIT;

			read_all(layout, blobs, true, 0, nar->len, 512 << 10, &plain);
			assert_view_equal(buf_view(&plain), buf_view(nar));
		}
		expect_ranges(layout, blobs, true, nar, 3 + i);
		nar_decoded_free(decoded_frames);
		decoded_frames = NULL;
	}
}

static void expect_layout(struct nar_layout *layout, struct blob_service *blobs,
			  const struct buf *nar)
{
	AUTO_BUF frames = BUF_INIT, plain = BUF_INIT, decoded = BUF_INIT;
	struct err err = ERR_INIT;

	assert_ok(nar_body_check(layout, blobs, &op_none, &err), &err);
	assert_int_equal(nar_layout_nar_size(layout), nar->len);
	read_all(layout, blobs, true, 0, nar->len, 512 << 10, &plain);
	assert_view_equal(buf_view(&plain), buf_view(nar));
	read_all(layout, blobs, false, 0, nar_layout_size(layout), 512 << 10, &frames);
	assert_int_equal(frames.len, nar_layout_size(layout));
	buf_reserve(&decoded, nar->len + 1);
	decoded.len = ZSTD_decompress(decoded.ptr, nar->len + 1, frames.ptr, frames.len);
	assert_view_equal(buf_view(&decoded), buf_view(nar));
	expect_ranges(layout, blobs, true, nar, 1);
	expect_ranges(layout, blobs, false, &frames, 2);
}

/* What was kept says the same; one changed byte, or a cut, and it is not taken. */
static void expect_kept(const struct services *services, const struct nar_layout *layout,
			const struct buf *nar)
{
	struct testing_random random = testing_random_of(3);
	AUTO_NAR_LAYOUT struct nar_layout *again = NULL;
	struct nar_layout *none;
	AUTO_BUF kept = BUF_INIT;
	struct err err = ERR_INIT;

	nar_layout_encode(layout, &kept);
	assert_ok(nar_layout_decode(services, &op_none, buf_view(&kept), &again, &err), &err);
	assert_memory_equal(again->id, layout->id, sizeof(layout->id));
	expect_layout(again, services->blobs, nar);
	for (int i = 0; i < 24; i++) {
		size_t at = testing_below(&random, kept.len);

		kept.ptr[at] ^= 1;
		assert_rc(RC_CORRUPT,
			  nar_layout_decode(services, &op_none, buf_view(&kept), &none, &err),
			  &err);
		kept.ptr[at] ^= 1;
		assert_rc(RC_CORRUPT,
			  nar_layout_decode(services, &op_none, view_slice(buf_view(&kept), 0, at),
					    &none, &err),
			  &err);
	}
}

enum place { IN_MEMORY, ON_DISK, RAW_FILES };

/* One thread only: ThreadSanitizer has little to see, and takes minutes for it. */
#ifdef __SANITIZE_THREAD__
enum { TREES = 1 };
#else
enum { TREES = 3 };
#endif

static void random_trees(enum place place)
{
	static const uint64_t seeds[] = { 1000, 1200, 3000 }; /* NARs of 1 to 14 MB */

	for (size_t tree = 0; tree < TREES; tree++) {
		AUTO_TESTING_DIR char *dir = testing_dir();
		AUTO_NAR_LAYOUT struct nar_layout *layout = NULL;
		AUTO_BUF nar = BUF_INIT;
		struct sample sample;
		struct sample_generator generator = { &sample, &nar, seeds[tree], 0 };
		struct err err = ERR_INIT;
		struct node root;

		sample_init(&sample);
		if (place != IN_MEMORY)
			use_disk(&sample, dir, place == RAW_FILES ? 100000 : 0);
		nar_begin(&nar);
		root = sample_tree(&generator, "", 4);
		sample_commit(&sample, true);
		assert_ok(nar_layout_make(&sample.services, &op_none, &root, &layout, &err), &err);
		print_message("seed %ju: %zu bytes of NAR, %zu frames, %zu stored, %zu slices\n",
			      (uintmax_t)seeds[tree], nar.len, layout->count, layout->chunk_count,
			      layout->slice_count);
		assert_true(place == ON_DISK ? layout->chunk_count > 0 : layout->slice_count > 0);
		expect_layout(layout, sample.services.blobs, &nar);
		expect_cached(layout, sample.services.blobs, &nar);
		expect_kept(&sample.services, layout, &nar);
		nar_layout_cleanup(&layout);
		layout = NULL;
		sample_release(&sample);
	}
}

static void memory(void **state)
{
	(void)state;
	random_trees(IN_MEMORY);
}

static void disk(void **state)
{
	(void)state;
	random_trees(ON_DISK);
}

static void raw_files(void **state)
{
	(void)state;
	random_trees(RAW_FILES);
}

static void roots_alone(void **state)
{
	struct sample sample;
	struct err err = ERR_INIT;
	struct node nodes[3];

	(void)state;
	sample_init(&sample);
	nodes[0] = sample_file(&sample, "", view_of_string("hello"), true);
	nodes[1] = sample_symlink("", "/nowhere");
	nodes[2] = sample_file(&sample, "", view_of_string(""), false);
	sample_commit(&sample, false);
	for (int i = 0; i < 3; i++) {
		AUTO_NAR_LAYOUT struct nar_layout *layout = NULL;
		AUTO_BUF nar = BUF_INIT;

		nar_begin(&nar);
		if (nodes[i].kind == NODE_SYMLINK) {
			nar_symlink(&nar, nodes[i].target);
		} else {
			nar_file_begin(&nar, nodes[i].executable, nodes[i].size);
			buf_append_string(&nar, i == 0 ? "hello" : "");
			nar_file_end(&nar, nodes[i].size);
		}
		assert_ok(nar_layout_make(&sample.services, &op_none, &nodes[i], &layout, &err),
			  &err);
		expect_layout(layout, sample.services.blobs, &nar);
	}
	sample_release(&sample);
}

/* ---- Every range ---- */

enum { PIECES = 40, PIECE_MAX = 90 };

static void add_literal(struct nar_layout *layout, const uint8_t *bytes, size_t len)
{
	size_t room = ZSTD_compressBound(len), start = layout->literals.len;
	struct err err = ERR_INIT;

	buf_reserve(&layout->literals, room);
	layout->literals.len += ZSTD_compress(layout->literals.ptr + start, room, bytes, len, 1);
	assert_ok(nar_layout_add(layout, NAR_FRAME_LITERAL, (uint32_t)start,
				 layout->literals.len - start, len, &err),
		  &err);
}

/* Of one blob: literals and slices by turns, as short as a byte. */
static struct nar_layout *small_pieces(struct sample *sample, struct buf *whole)
{
	struct testing_random random = testing_random_of(11);
	struct nar_layout *layout = nar_layout_new();
	size_t sizes[PIECES], at = 0;
	struct err err = ERR_INIT;
	struct node file;

	for (int i = 0; i < PIECES; i++) {
		sizes[i] = i % 5 == 0 ? 1 : 1 + testing_below(&random, PIECE_MAX);
		for (size_t n = 0; n < sizes[i]; n++)
			buf_append_byte(whole, (uint8_t)testing_below(&random, 256));
	}
	file = sample_file(sample, "", buf_view(whole), false);
	sample_commit(sample, false);
	layout->slices = mem_array(PIECES, sizeof(layout->slices[0]));
	for (int i = 0; i < PIECES; at += sizes[i++]) {
		if (i % 2 == 0) {
			add_literal(layout, whole->ptr + at, sizes[i]);
			continue;
		}
		layout->slices[layout->slice_count] = (struct nar_slice){ .blob = file.digest,
									  .blob_size = whole->len,
									  .offset = at };
		assert_ok(nar_layout_add(layout, NAR_FRAME_SLICE, (uint32_t)layout->slice_count++,
					 local_raw_frame_size(sizes[i]), sizes[i], &err),
			  &err);
	}
	assert_ok(nar_layout_finish(layout, &err), &err);
	return layout;
}

/* The offsets at, before and after each boundary, in order. */
static size_t boundaries(const struct nar_layout *layout, bool plain, size_t *out)
{
	size_t count = 0, len = plain ? nar_layout_nar_size(layout) : nar_layout_size(layout);

	for (size_t i = 0; i <= layout->count; i++) {
		size_t at = plain ? layout->frames[i].nar_at : layout->frames[i].at;

		for (size_t n = at > 0 ? at - 1 : 0; n <= at + 1 && n <= len; n++)
			if (count == 0 || n > out[count - 1])
				out[count++] = n;
	}
	return count;
}

static void every_range(void **state)
{
	AUTO_BUF nar = BUF_INIT, frames = BUF_INIT;
	struct nar_layout *layout;
	struct sample sample;

	(void)state;
	sample_init(&sample);
	layout = small_pieces(&sample, &nar);
	read_all(layout, sample.services.blobs, false, 0, nar_layout_size(layout), 1000, &frames);
	assert_int_equal(layout->count, PIECES);
	for (int plain = 0; plain < 2; plain++) {
		const struct buf *whole = plain ? &nar : &frames;
		size_t at[3 * (PIECES + 1)], count = boundaries(layout, plain, at);

		assert_true(count > PIECES);
		for (size_t i = 0; i < count; i++)
			for (size_t n = i; n < count; n++) {
				AUTO_BUF part = BUF_INIT;

				read_all(layout, sample.services.blobs, plain, at[i], at[n],
					 n % 2 ? 7 : 1000, &part);
				assert_view_equal(
					buf_view(&part),
					view_slice(buf_view(whole), at[i], at[n] - at[i]));
			}
	}
	expect_layout(layout, sample.services.blobs, &nar);
	nar_layout_unref(layout);
	sample_release(&sample);
}

/* Not there at all; there, but not whole; of another size than its node says. */
static void missing(void **state)
{
	struct sample sample;
	struct err err = ERR_INIT;
	struct nar_layout *layout;
	struct node nodes[2], root, file;

	(void)state;
	sample_init(&sample);
	nodes[0] = sample_file(&sample, "a", view_of_string("content"), false);
	nodes[1] = nodes[0];
	nodes[1].name = view_of_string("b");
	nodes[1].digest.bytes[0] ^= 1;
	root = sample_directory(&sample, "", nodes, 2);
	sample_commit(&sample, true);
	assert_rc(RC_CORRUPT, nar_layout_make(&sample.services, &op_none, &root, &layout, &err),
		  &err);
	assert_null(layout);
	root.digest.bytes[0] ^= 1;
	assert_rc(RC_NOT_FOUND, nar_layout_make(&sample.services, &op_none, &root, &layout, &err),
		  &err);
	file = nodes[1];
	assert_rc(RC_NOT_FOUND, nar_layout_make(&sample.services, &op_none, &file, &layout, &err),
		  &err);
	file = nodes[0];
	file.size = 6;
	assert_rc(RC_NOT_FOUND, nar_layout_make(&sample.services, &op_none, &file, &layout, &err),
		  &err);
	sample_release(&sample);
}

/* Computed once, kept in the store for the next process, and in memory. */
static void kept_by_node(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	AUTO_BUF nar = BUF_INIT, kept = BUF_INIT;
	struct sample sample;
	struct sample_generator generator = { &sample, &nar, 1000, 0 };
	struct nar_layout *layout = NULL, *again = NULL;
	struct nar_layouts *layouts;
	struct err err = ERR_INIT;
	struct node root;
	struct digest key;

	(void)state;
	sample_init(&sample);
	use_disk(&sample, dir, 0);
	nar_begin(&nar);
	root = sample_tree(&generator, "", 4);
	sample_commit(&sample, true);
	key = nar_layouts_key(&root);
	layouts = nar_layouts_new(&sample.services, 1 << 30);
	assert_null(nar_layouts_peek(layouts, &key));
	assert_ok(nar_layouts_get(layouts, &op_none, &root, &layout, &err), &err);
	again = nar_layouts_peek(layouts, &key);
	assert_ptr_equal(layout, again);
	nar_layout_unref(again);
	nar_layouts_free(layouts);
	assert_ok(scratch_store_get(sample.services.scratch, &op_none, SCRATCH_NAR_LAYOUTS, &key,
				    &kept, &err),
		  &err);
	layouts = nar_layouts_new(&sample.services, 1 << 30);
	assert_ok(nar_layouts_get(layouts, &op_none, &root, &again, &err), &err);
	assert_memory_equal(again->id, layout->id, sizeof(layout->id));
	nar_layout_unref(again);
	nar_layouts_free(layouts);
	/* Damage there is as good as nothing there. */
	kept.ptr[kept.len / 2] ^= 1;
	assert_ok(scratch_store_put(sample.services.scratch, &op_none, SCRATCH_NAR_LAYOUTS, &key,
				    buf_view(&kept), &err),
		  &err);
	layouts = nar_layouts_new(&sample.services, 0);
	assert_ok(nar_layouts_get(layouts, &op_none, &root, &again, &err), &err);
	assert_memory_equal(again->id, layout->id, sizeof(layout->id));
	expect_layout(again, sample.services.blobs, &nar);
	nar_layout_unref(again);
	assert_null(nar_layouts_peek(layouts, &key));
	nar_layouts_free(layouts);
	nar_layout_unref(layout);
	sample_release(&sample);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory),      cmocka_unit_test(disk),
		cmocka_unit_test(raw_files),   cmocka_unit_test(roots_alone),
		cmocka_unit_test(missing),     cmocka_unit_test(kept_by_node),
		cmocka_unit_test(every_range),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
