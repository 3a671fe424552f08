/* The cache of decoded frames: everything while there is room, then most of what came first. */
#include "unit/testing.h"

#include <string.h>

#include "transfer/nar_decoded.h"

enum { FRAMES = 200, RAW = 10000 };

static struct nar_layout *make_layout(void)
{
	struct nar_layout *layout = nar_layout_new();
	struct err err = ERR_INIT;

	for (uint32_t i = 0; i < FRAMES; i++)
		assert_ok(nar_layout_add(layout, NAR_FRAME_LITERAL, i, 10, RAW, &err), &err);
	return layout;
}

static struct view bytes_of(size_t frame, uint8_t bytes[RAW])
{
	memset(bytes, (int)(frame % 251), RAW);
	return view_of(bytes, RAW);
}

/* All frames in turn; how many were there. */
static size_t read_round(struct nar_decoded *decoded, const struct nar_layout *layout)
{
	uint8_t bytes[RAW];
	size_t hits = 0;

	for (size_t i = 0; i < FRAMES; i++) {
		struct view want = bytes_of(i, bytes);
		struct nar_stretch *stretch = nar_decoded_get(decoded, layout, i);

		if (!stretch) {
			nar_decoded_offer(decoded, layout, i, want);
			continue;
		}
		assert_view_equal(view_of(stretch->bytes, stretch->len), want);
		nar_stretch_unref(stretch);
		hits++;
	}
	return hits;
}

static void all_fit(void **state)
{
	AUTO_NAR_LAYOUT struct nar_layout *layout = make_layout();
	struct nar_decoded *decoded = nar_decoded_new(2 * FRAMES * RAW);

	(void)state;
	assert_int_equal(read_round(decoded, layout), 0);
	assert_int_equal(read_round(decoded, layout), FRAMES);
	nar_decoded_free(decoded);
}

/* Who reads in a circle what does not fit finds nothing where the coldest always goes. */
static void half_fits(void **state)
{
	AUTO_NAR_LAYOUT struct nar_layout *layout = make_layout();
	struct nar_decoded *decoded = nar_decoded_new(FRAMES * RAW / 2);

	(void)state;
	assert_int_equal(read_round(decoded, layout), 0);
	for (int round = 0; round < 20; round++)
		assert_in_range(read_round(decoded, layout), FRAMES / 3, FRAMES / 2);
	nar_decoded_free(decoded);
}

/* What is asked for again and again gets in, though there is no room. */
static void newcomers(void **state)
{
	AUTO_NAR_LAYOUT struct nar_layout *layout = make_layout();
	struct nar_decoded *decoded = nar_decoded_new(3 * RAW);
	struct nar_stretch *stretch = NULL;
	uint8_t bytes[RAW];
	int asked = 0;

	(void)state;
	(void)read_round(decoded, layout);
	while (!(stretch = nar_decoded_get(decoded, layout, FRAMES - 1))) {
		nar_decoded_offer(decoded, layout, FRAMES - 1, bytes_of(FRAMES - 1, bytes));
		assert_true(asked++ < 2 * NAR_DECODED_ADMIT);
	}
	/* It stays for who has it. */
	nar_decoded_free(decoded);
	assert_view_equal(view_of(stretch->bytes, stretch->len), bytes_of(FRAMES - 1, bytes));
	nar_stretch_unref(stretch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_fit),
		cmocka_unit_test(half_fits),
		cmocka_unit_test(newcomers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
