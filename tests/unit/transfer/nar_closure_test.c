/* Closures in one file: there and back, in pieces, cut off, and wrong. nix itself is asked by an end-to-end test. */
#include "transfer/nar_closure.h"

#include "nix/closure_entry.h"
#include "sample.h"
#include "transfer/publish.h"

struct source {
	struct view left;
	size_t step;
};

static enum rc give(void *context, void *out, size_t len, size_t *got, struct err *err)
{
	struct source *source = context;

	(void)err;
	*got = len < source->step ? len : source->step;
	if (*got > source->left.len)
		*got = source->left.len;
	if (*got > 0)
		memcpy(out, source->left.ptr, *got);
	source->left = view_slice(source->left, *got, source->left.len - *got);
	return RC_OK;
}

static enum rc gather(void *context, struct view bytes, struct err *err)
{
	(void)err;
	buf_append_view(context, bytes);
	return RC_OK;
}

struct told {
	unsigned paths, there;
};

static enum rc tell(void *context, const struct path_info *info, bool there, struct err *err)
{
	struct told *told = context;

	(void)info, (void)err;
	told->paths++;
	told->there += there;
	return RC_OK;
}

static enum rc import(const struct services *services, struct view bytes, size_t step,
		      struct told *told, struct err *err)
{
	struct source source = { .left = bytes, .step = step };

	*told = (struct told){ 0 };
	return nar_closure_import(services, &op_none, give, &source, tell, told, err);
}

enum { PATHS = 3 };

/* A file, what refers to it, and what refers to both; with a deriver. */
static void make_closure(struct sample *sample, struct path_info infos[PATHS], struct buf *out)
{
	static const char *const names[PATHS] = { "one", "two", "three" };
	struct store_path references[PATHS];
	struct err err = ERR_INIT;
	struct node nodes[PATHS];

	nodes[0] = sample_file(sample, "x", view_of_string("1"), true);
	nodes[0] = sample_directory(sample, "", nodes, 1);
	nodes[1] = sample_file(sample, "", view_of_string("22"), true);
	nodes[2] = sample_symlink("", "333");
	sample_commit(sample, true);
	for (size_t i = 0; i < PATHS; i++) {
		struct nar_facts facts;
		struct path_info info AUTO_PATH_INFO = { .nar_size = 0 };
		size_t count = i;

		if (i == 2 && store_path_compare(&references[0], &references[1]) > 0) {
			struct store_path first = references[0];

			references[0] = references[1];
			references[1] = first;
		}
		assert_ok(nar_facts_of(&sample->services, &op_none, &nodes[i], &facts, &err), &err);
		assert_ok(publish_with_references(&sample->services, &op_none, &nodes[i], &facts,
						  names[i], references, count, &info, &err),
			  &err);
		path_info_copy(&infos[i], &info);
		infos[i].has_deriver = i == 1;
		infos[i].deriver = infos[0].path;
		references[i] = info.path;
	}
	assert_ok(nar_closure_export(&sample->services, &op_none, infos, PATHS, gather, out, &err),
		  &err);
}

static void there_and_back(void **state)
{
	static const size_t steps[] = { 1, 7, 100, SIZE_MAX };
	struct path_info infos[PATHS];
	AUTO_BUF bytes = BUF_INIT;
	struct sample from;

	(void)state;
	sample_init(&from);
	make_closure(&from, infos, &bytes);
	for (size_t s = 0; s < ARRAY_LEN(steps); s++) {
		struct err err = ERR_INIT;
		struct sample to;
		struct told told;

		sample_init(&to);
		assert_ok(import(&to.services, buf_view(&bytes), steps[s], &told, &err), &err);
		assert_int_equal(told.paths, PATHS);
		assert_int_equal(told.there, 0);
		for (size_t i = 0; i < PATHS; i++) {
			struct path_info got AUTO_PATH_INFO = { .nar_size = 0 };

			assert_ok(path_info_service_get(to.services.path_infos, &op_none,
							infos[i].path.hash, &got, &err),
				  &err);
			assert_true(store_path_equal(&got.path, &infos[i].path));
			assert_int_equal(got.nar_size, infos[i].nar_size);
			assert_memory_equal(&got.nar_sha256, &infos[i].nar_sha256, 32);
			assert_int_equal(got.reference_count, i);
			assert_int_equal(got.has_deriver, i == 1);
			assert_false(got.has_ca);
			assert_int_equal(got.node.kind, infos[i].node.kind);
			assert_ok(path_info_check(&got, &err), &err);
		}
		assert_ok(import(&to.services, buf_view(&bytes), steps[s], &told, &err), &err);
		assert_int_equal(told.there, PATHS);
		sample_release(&to);
	}
	for (size_t i = 0; i < PATHS; i++)
		path_info_release(&infos[i]);
	sample_release(&from);
}

static void every_cut_is_told(void **state)
{
	struct path_info infos[PATHS];
	AUTO_BUF bytes = BUF_INIT;
	struct err err = ERR_INIT;
	struct sample from, to;
	struct told told;

	(void)state;
	sample_init(&from);
	sample_init(&to);
	make_closure(&from, infos, &bytes);
	for (size_t len = 0; len < bytes.len; len++)
		assert_rc(RC_INVALID,
			  import(&to.services, view_of(bytes.ptr, len), SIZE_MAX, &told, &err),
			  &err);
	assert_int_equal(told.paths, PATHS);
	buf_append_byte(&bytes, 0);
	assert_rc(RC_INVALID, import(&to.services, buf_view(&bytes), 1, &told, &err), &err);
	assert_says(&err, "something follows");
	assert_rc(RC_INVALID,
		  import(&to.services, view_of_string("this is something else"), 1, &told, &err),
		  &err);
	assert_says(&err, "this is no closure");
	/* It may come late what the path is, but not whose. */
	bytes.ptr[0] = 2;
	assert_rc(RC_INVALID, import(&to.services, buf_view(&bytes), 1, &told, &err), &err);
	for (size_t i = 0; i < PATHS; i++)
		path_info_release(&infos[i]);
	sample_release(&from);
	sample_release(&to);
}

static void what_does_not_fit(void **state)
{
	struct path_info infos[PATHS], wrong;
	AUTO_BUF bytes = BUF_INIT;
	struct err err = ERR_INIT;
	struct sample from, to;
	struct told told;

	(void)state;
	sample_init(&from);
	sample_init(&to);
	make_closure(&from, infos, &bytes);
	/* Without the first, the second refers to nothing. */
	buf_clear(&bytes);
	assert_ok(nar_closure_export(&from.services, &op_none, &infos[1], 1, gather, &bytes, &err),
		  &err);
	assert_rc(RC_NOT_FOUND, import(&to.services, buf_view(&bytes), 99, &told, &err), &err);
	assert_says(&err, "-two: it refers to ");
	assert_int_equal(told.paths, 0);
	/* The path of one with the content of another. */
	wrong = infos[0];
	wrong.node = infos[2].node;
	buf_clear(&bytes);
	assert_ok(nar_closure_export(&from.services, &op_none, &wrong, 1, gather, &bytes, &err),
		  &err);
	assert_rc(RC_EXISTS, import(&from.services, buf_view(&bytes), 99, &told, &err), &err);
	assert_says(&err, "-one: it is in the store already, with another content");
	/* None at all is a closure. */
	buf_clear(&bytes);
	assert_ok(nar_closure_export(&from.services, &op_none, NULL, 0, gather, &bytes, &err),
		  &err);
	assert_ok(import(&to.services, buf_view(&bytes), 99, &told, &err), &err);
	assert_int_equal(told.paths, 0);
	buf_append_byte(&bytes, 0);
	assert_rc(RC_INVALID, import(&to.services, buf_view(&bytes), 8, &told, &err), &err);
	for (size_t i = 0; i < PATHS; i++)
		path_info_release(&infos[i]);
	sample_release(&from);
	sample_release(&to);
}

/* References that take more room than a NAR's reader has, and what follows them. */
static void a_long_one_is_read_with_what_follows(void **state)
{
	enum { REFERENCES = 9000, CONTENT = 200000, FILES = 4 };
	struct store_path *references AUTO_FREE = mem_array(REFERENCES, sizeof(*references));
	char *content AUTO_FREE = mem_zalloc(CONTENT);
	struct path_info infos[1 + FILES];
	AUTO_BUF bytes = BUF_INIT;
	struct err err = ERR_INIT;
	struct nar_facts facts;
	struct sample sample;
	struct node nodes[FILES];
	struct told told;

	(void)state;
	sample_init(&sample);
	for (size_t i = 0; i < FILES; i++) {
		content[0] = (char)i;
		nodes[i] = sample_file(&sample, "", view_of(content, CONTENT), false);
	}
	sample_commit(&sample, false);
	for (size_t i = 0; i < REFERENCES + FILES; i++) {
		struct path_info info AUTO_PATH_INFO = { .nar_size = 0 };
		char name[32];

		snprintf(name, sizeof(name), "name-%05zu", i);
		if (i == 0 || i >= REFERENCES)
			assert_ok(nar_facts_of(&sample.services, &op_none,
					       &nodes[i < REFERENCES ? 0 : i - REFERENCES], &facts,
					       &err),
				  &err);
		assert_ok(publish_recursive(&sample.services, &op_none,
					    &nodes[i < REFERENCES ? 0 : i - REFERENCES], &facts,
					    name, &info, &err),
			  &err);
		if (i < REFERENCES)
			references[i] = info.path;
		else
			path_info_copy(&infos[i - REFERENCES + 1], &info);
	}
	infos[0] = infos[1];
	strcpy(infos[0].path.name, "referrer");
	infos[0].path.hash[0] ^= 1;
	infos[0].references = references;
	infos[0].reference_count = REFERENCES;
	assert_ok(nar_closure_export(&sample.services, &op_none, infos, 1 + FILES, gather, &bytes,
				     &err),
		  &err);
	assert_ok(import(&sample.services, buf_view(&bytes), SIZE_MAX, &told, &err), &err);
	assert_int_equal(told.paths, 1 + FILES);
	assert_int_equal(told.there, FILES);
	for (size_t i = 1; i <= FILES; i++)
		path_info_release(&infos[i]);
	sample_release(&sample);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(every_cut_is_told),
		cmocka_unit_test(what_does_not_fit),
		cmocka_unit_test(a_long_one_is_read_with_what_follows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
