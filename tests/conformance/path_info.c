/* What every path-info service has to do. */
#include "conformance/conformance.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "threads.h"

/* The path info of a file, its hash drawn from the number. To be released. */
static struct path_info make(uint64_t number)
{
	struct path_info info = { .nar_size = 100 + number };
	char name[STORE_PATH_BASENAME_MAX + 1];
	struct node node = { .kind = NODE_FILE, .size = number };

	random_bytes(number, info.path.hash, sizeof(info.path.hash));
	snprintf(info.path.name, sizeof(info.path.name), "path-%u", (unsigned)number);
	store_path_basename(&info.path, name);
	node.name = view_of_string(name);
	random_bytes(number + 1000000, &node.digest, sizeof(node.digest));
	node_copy(&info.node, &node);
	random_bytes(number + 2000000, &info.nar_sha256, sizeof(info.nar_sha256));
	return info;
}

/* With everything that a path info can have. */
static struct path_info make_full(uint64_t number)
{
	struct path_info info = make(number);

	info.reference_count = 3;
	info.references = mem_array(3, sizeof(*info.references));
	for (size_t i = 0; i < 3; i++) {
		/* Not sorted: they are kept as they come. */
		random_bytes(number + 10 - i, info.references[i].hash, STORE_PATH_HASH_SIZE);
		snprintf(info.references[i].name, sizeof(info.references[i].name), "ref-%zu", i);
	}
	info.signature_count = 2;
	info.signatures = mem_array(2, sizeof(*info.signatures));
	for (size_t i = 0; i < 2; i++) {
		info.signatures[i].name = mem_strdup(i ? "cache.example.org-1" : "other_key");
		random_bytes(number + i, info.signatures[i].data, SIGNATURE_SIZE);
	}
	info.has_deriver = true;
	random_bytes(number + 20, info.deriver.hash, STORE_PATH_HASH_SIZE);
	snprintf(info.deriver.name, sizeof(info.deriver.name), "deriver");
	info.has_ca = true;
	info.ca.kind = CA_NAR_SHA256;
	random_bytes(number + 30, info.ca.digest, ca_digest_size(info.ca.kind));
	return info;
}

static void check_equal(const struct path_info *a, const struct path_info *b)
{
	struct buf in_a CLEANUP(buf_release) = BUF_INIT, in_b CLEANUP(buf_release) = BUF_INIT;

	path_info_encode(a, &in_a);
	path_info_encode(b, &in_b);
	assert_true(view_equal(buf_view(&in_a), buf_view(&in_b)));
	assert_true(store_path_equal(&a->path, &b->path));
}

static void check_there(struct path_info_service *service, const struct path_info *info)
{
	struct path_info found AUTO_PATH_INFO = { 0 };

	must(path_info_service_get(service, &op_none, info->path.hash, &found, &last_err));
	check_equal(&found, info);
}

static void put_number(struct path_info_service *service, uint64_t number)
{
	struct path_info info AUTO_PATH_INFO = make(number);

	must(path_info_service_put(service, &op_none, &info, NULL, &last_err));
}

/* ---- One at a time ---- */

static void missing_path_info(struct fixture *fixture)
{
	struct path_info_service *service = fixture->services.path_infos;
	struct path_info out = { .nar_size = 1 };
	uint8_t hash[STORE_PATH_HASH_SIZE];

	for (int round = 0; round < 2; round++) {
		random_bytes(77, hash, sizeof(hash));
		expect(RC_NOT_FOUND,
		       path_info_service_get(service, &op_none, hash, &out, &last_err));
		assert_int_equal(out.nar_size, 0);
		put_number(service, 1);
	}
}

static void put_and_get(struct fixture *fixture)
{
	struct path_info_service *service = fixture->services.path_infos;
	struct path_info plain AUTO_PATH_INFO = make(1);
	struct path_info full AUTO_PATH_INFO = make_full(2);
	struct path_info stored AUTO_PATH_INFO = { 0 };

	must(path_info_service_put(service, &op_none, &plain, NULL, &last_err));
	must(path_info_service_put(service, &op_none, &full, &stored, &last_err));
	check_equal(&stored, &full);
	check_there(service, &plain);
	check_there(service, &full);
}

static void all_kinds_of_nodes(struct fixture *fixture)
{
	struct path_info_service *service = fixture->services.path_infos;

	for (uint64_t i = 0; i < 3; i++) {
		struct path_info info AUTO_PATH_INFO = make(i);
		struct node node = info.node;
		struct node old = info.node;

		node.kind = i == 0 ? NODE_FILE : i == 1 ? NODE_SYMLINK : NODE_DIRECTORY;
		node.executable = i == 0;
		if (i == 1) {
			node.size = 0;
			node.digest = (struct digest){ 0 };
			node.target = view_of_string("/nix/store/elsewhere");
		}
		node_copy(&info.node, &node);
		node_release(&old);
		must(path_info_service_put(service, &op_none, &info, NULL, &last_err));
		check_there(service, &info);
	}
}

static void later_one_replaces(struct fixture *fixture)
{
	struct path_info_service *service = fixture->services.path_infos;
	struct path_info first AUTO_PATH_INFO = make(1);
	struct path_info second AUTO_PATH_INFO = make_full(1);
	struct path_info_iter *iter;
	struct path_info out AUTO_PATH_INFO = { 0 };
	bool end;

	must(path_info_service_put(service, &op_none, &first, NULL, &last_err));
	must(path_info_service_put(service, &op_none, &second, NULL, &last_err));
	check_there(service, &second);
	must(path_info_service_put(service, &op_none, &first, NULL, &last_err));
	check_there(service, &first);
	must(path_info_service_list(service, &op_none, NULL, &iter, &last_err));
	must(path_info_iter_next(iter, &op_none, &out, &end, &last_err));
	assert_false(end);
	path_info_release(&out);
	must(path_info_iter_next(iter, &op_none, &out, &end, &last_err));
	assert_true(end);
	path_info_iter_free(iter);
}

static void invalid_ones_are_refused(struct fixture *fixture)
{
	struct path_info_service *service = fixture->services.path_infos;

	for (int wrong = 0; wrong < 4; wrong++) {
		struct path_info info AUTO_PATH_INFO = make_full(1);
		struct path_info stored = { .nar_size = 1 };

		if (wrong == 0)
			info.path.hash[0] ^= 1; /* not the node's name */
		else if (wrong == 1)
			info.signatures[0].name[0] = ' ';
		else if (wrong == 2)
			info.references[1].name[0] = '/';
		else
			info.ca.kind = CA_KIND_COUNT_;
		expect(RC_INVALID,
		       path_info_service_put(service, &op_none, &info, &stored, &last_err));
		assert_int_equal(stored.nar_size, 0);
		expect(RC_NOT_FOUND, path_info_service_get(service, &op_none, info.path.hash,
							   &stored, &last_err));
	}
}

/* ---- Listing ---- */

/* Lists above `after`, checks that it ascends; returns how many came. */
static size_t list(struct path_info_service *service, const uint8_t *after)
{
	uint8_t last[STORE_PATH_HASH_SIZE];
	bool first = true, end = false;
	struct path_info_iter *iter;
	size_t count = 0;

	must(path_info_service_list(service, &op_none, after, &iter, &last_err));
	for (;;) {
		struct path_info info AUTO_PATH_INFO = { 0 };

		must(path_info_iter_next(iter, &op_none, &info, &end, &last_err));
		if (end)
			break;
		if (!first)
			assert_true(memcmp(last, info.path.hash, sizeof(last)) < 0);
		else if (after)
			assert_true(memcmp(after, info.path.hash, sizeof(last)) < 0);
		memcpy(last, info.path.hash, sizeof(last));
		first = false;
		count++;
		assert_int_equal(info.nar_size, info.node.size + 100);
	}
	{
		struct path_info info;

		must(path_info_iter_next(iter, &op_none, &info, &end, &last_err));
		assert_true(end);
	}
	path_info_iter_free(iter);
	return count;
}

static int compare_hashes(const void *a, const void *b)
{
	return memcmp(a, b, STORE_PATH_HASH_SIZE);
}

static void listing(struct fixture *fixture)
{
	enum { COUNT = 100 };
	struct path_info_service *service = fixture->services.path_infos;
	uint8_t hashes[COUNT][STORE_PATH_HASH_SIZE];
	uint8_t highest[STORE_PATH_HASH_SIZE];

	memset(highest, 0xff, sizeof(highest));
	assert_int_equal(list(service, NULL), 0);
	assert_int_equal(list(service, highest), 0);
	for (size_t i = 0; i < COUNT; i++) {
		put_number(service, i);
		random_bytes(i, hashes[i], STORE_PATH_HASH_SIZE);
	}
	qsort(hashes, COUNT, STORE_PATH_HASH_SIZE, compare_hashes);
	assert_int_equal(list(service, NULL), COUNT);
	for (size_t i = 0; i < COUNT; i += 11) {
		uint8_t between[STORE_PATH_HASH_SIZE];

		assert_int_equal(list(service, hashes[i]), COUNT - 1 - i);
		/* A start that is not there itself: just below the hash. */
		memcpy(between, hashes[i], sizeof(between));
		for (size_t at = sizeof(between); at-- > 0;)
			if (between[at]-- != 0)
				break;
		assert_int_equal(list(service, between), COUNT - i);
	}
	assert_int_equal(list(service, hashes[COUNT - 1]), 0);
	assert_int_equal(list(service, highest), 0);
}

static void listing_while_putting(struct fixture *fixture)
{
	enum { COUNT = 40 };
	struct path_info_service *service = fixture->services.path_infos;
	struct path_info_iter *iter;
	size_t old = 0;
	bool end = false;

	for (uint64_t i = 0; i < COUNT; i++)
		put_number(service, i);
	must(path_info_service_list(service, &op_none, NULL, &iter, &last_err));
	for (uint64_t i = COUNT; !end; i++) {
		struct path_info info AUTO_PATH_INFO = { 0 };

		if (i < 2 * COUNT)
			put_number(service, i);
		must(path_info_iter_next(iter, &op_none, &info, &end, &last_err));
		if (!end && info.node.size < COUNT)
			old++;
	}
	assert_int_equal(old, COUNT); /* each that was there at the start, once */
	path_info_iter_free(iter);
}

static void generation_moves(struct fixture *fixture)
{
	struct path_info_service *service = fixture->services.path_infos;
	uint64_t before, after;
	enum rc rc;

	rc = path_info_service_generation(service, &op_none, &before, &last_err);
	if (rc == RC_UNSUPPORTED)
		skip();
	must(rc);
	must(path_info_service_generation(service, &op_none, &after, &last_err));
	assert_int_equal(before, after);
	for (uint64_t i = 0; i < 3; i++) {
		put_number(service, i);
		must(path_info_service_generation(service, &op_none, &after, &last_err));
		assert_int_not_equal(before, after);
		before = after;
	}
}

static void deadline_and_cancel(struct fixture *fixture)
{
	static const struct {
		const struct op *op;
		enum rc rc;
	} ended[] = { { &op_late, RC_DEADLINE }, { &op_cancelled, RC_CANCELLED } };
	struct path_info_service *service = fixture->services.path_infos;
	struct path_info info AUTO_PATH_INFO = make(1);

	put_number(service, 2);
	for (size_t i = 0; i < ARRAY_LEN(ended); i++) {
		const struct op *op = ended[i].op;
		enum rc rc = ended[i].rc;
		struct path_info_iter *iter;
		struct path_info out;
		bool end;

		expect(rc, path_info_service_get(service, op, info.path.hash, &out, &last_err));
		expect(rc, path_info_service_put(service, op, &info, NULL, &last_err));
		expect(rc, path_info_service_list(service, op, NULL, &iter, &last_err));
		assert_null(iter);
		must(path_info_service_list(service, &op_none, NULL, &iter, &last_err));
		expect(rc, path_info_iter_next(iter, op, &out, &end, &last_err));
		expect(RC_FAILED_PRECONDITION,
		       path_info_iter_next(iter, &op_none, &out, &end, &last_err));
		path_info_iter_free(iter);
	}
	expect(RC_NOT_FOUND, path_info_service_get(service, &op_none, info.path.hash,
						   &(struct path_info){ 0 }, &last_err));
}

/* ---- Threads, time, damage ---- */

enum { THREADS = 4, PUTS = 40 };

struct worker {
	struct path_info_service *service;
	unsigned number;
	bool failed;
};

static void *work(void *arg)
{
	struct worker *worker = arg;

	for (unsigned i = 0; i < PUTS && !worker->failed; i++) {
		/* Half of what each puts, the others put too. */
		struct path_info info AUTO_PATH_INFO =
			make(i % 2 ? i : i + 1000 * (worker->number + 1));
		struct path_info found AUTO_PATH_INFO = { 0 };

		worker->failed = path_info_service_put(worker->service, &op_none, &info, NULL,
						       NULL) != RC_OK ||
				 path_info_service_get(worker->service, &op_none, info.path.hash,
						       &found, NULL) != RC_OK ||
				 !node_equal(&found.node, &info.node);
	}
	return NULL;
}

static void many_threads(struct fixture *fixture)
{
	struct worker workers[THREADS];
	pthread_t threads[THREADS];

	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ fixture->services.path_infos, i, false };
		threads[i] = testing_thread("test", work, &workers[i]);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		assert_false(workers[i].failed);
	}
	assert_int_equal(list(fixture->services.path_infos, NULL), PUTS / 2 + THREADS * (PUTS / 2));
}

static void iterator_outlives_the_handle(struct fixture *fixture)
{
	struct path_info info AUTO_PATH_INFO = { 0 };
	struct path_info_iter *iter;
	bool end;

	put_number(fixture->services.path_infos, 1);
	must(path_info_service_list(fixture->services.path_infos, &op_none, NULL, &iter,
				    &last_err));
	services_release(&fixture->services);
	must(path_info_iter_next(iter, &op_none, &info, &end, &last_err));
	assert_false(end);
	path_info_iter_free(iter);
}

static void reopened(struct fixture *fixture)
{
	for (uint64_t i = 0; i < 10; i++)
		put_number(fixture->services.path_infos, i);
	fixture_reopen(fixture);
	assert_int_equal(list(fixture->services.path_infos, NULL), 10);
	for (uint64_t i = 0; i < 10; i++) {
		struct path_info info AUTO_PATH_INFO = make(i);

		check_there(fixture->services.path_infos, &info);
	}
}

/* ---- Adding: what is there is protected ---- */

static struct signature signature_of(const char *name, uint64_t number)
{
	struct signature signature = { .name = mem_strdup(name) };

	random_bytes(number, signature.data, SIGNATURE_SIZE);
	return signature;
}

static void adding_merges_signatures(struct fixture *fixture)
{
	struct path_info_service *service = fixture->services.path_infos;
	struct path_info first AUTO_PATH_INFO = make_full(1), again AUTO_PATH_INFO = make_full(1);
	struct path_info stored AUTO_PATH_INFO = { 0 }, found AUTO_PATH_INFO = { 0 };
	struct signature more = signature_of("third", 77);

	must(path_info_service_add(service, &op_none, &first, &stored, &last_err));
	check_equal(&stored, &first);
	path_info_release(&stored);
	/* What no signature covers stays as it was, too. */
	again.has_deriver = again.has_ca = false;
	assert_true(path_info_add_signature(&again, &more));
	must(path_info_service_add(service, &op_none, &again, &stored, &last_err));
	must(path_info_service_get(service, &op_none, first.path.hash, &found, &last_err));
	check_equal(&stored, &found);
	assert_int_equal(found.signature_count, 3);
	assert_string_equal(found.signatures[2].name, "third");
	assert_true(found.has_deriver && found.has_ca);
}

static void adding_replaces_nothing(struct fixture *fixture)
{
	struct path_info_service *service = fixture->services.path_infos;
	struct path_info first AUTO_PATH_INFO = make_full(1), stored AUTO_PATH_INFO = { 0 };

	must(path_info_service_add(service, &op_none, &first, NULL, &last_err));
	for (int what = 0; what < 4; what++) {
		struct path_info other AUTO_PATH_INFO = make_full(1);

		if (what == 0)
			other.reference_count--;
		else if (what == 1)
			other.nar_sha256.bytes[0] ^= 1;
		else if (what == 2)
			other.nar_size++;
		else
			other.references[1].hash[5] ^= 1;
		expect(RC_EXISTS,
		       path_info_service_add(service, &op_none, &other, &stored, &last_err));
		assert_int_equal(stored.signature_count, 0);
		check_there(service, &first);
	}
}

struct adding {
	struct path_info_service *service;
	unsigned number;
};

static void *add_one(void *arg)
{
	struct adding *adding = arg;
	struct path_info info AUTO_PATH_INFO = make(5);
	struct signature signature = signature_of("key", adding->number);

	assert_true(path_info_add_signature(&info, &signature));
	must(path_info_service_add(adding->service, &op_none, &info, NULL, &last_err));
	return NULL;
}

/* Many at once: no signature is lost. */
static void adding_at_once(struct fixture *fixture)
{
	enum { ADDERS = 8 };
	struct path_info found AUTO_PATH_INFO = { 0 }, wanted AUTO_PATH_INFO = make(5);
	struct adding adding[ADDERS];
	pthread_t threads[ADDERS];

	for (unsigned i = 0; i < ADDERS; i++) {
		adding[i] = (struct adding){ fixture->services.path_infos, i };
		assert_int_equal(pthread_create(&threads[i], NULL, add_one, &adding[i]), 0);
	}
	for (int i = 0; i < ADDERS; i++)
		pthread_join(threads[i], NULL);
	must(path_info_service_get(fixture->services.path_infos, &op_none, wanted.path.hash, &found,
				   &last_err));
	assert_int_equal(found.signature_count, ADDERS);
}

static bool has_path_infos(const struct services *services)
{
	return services->path_infos != NULL;
}

int main(void)
{
	static const struct conformance_case cases[] = {
		{ "a missing path info", missing_path_info },
		{ "put and get", put_and_get },
		{ "all kinds of nodes", all_kinds_of_nodes },
		{ "a later one replaces", later_one_replaces },
		{ "adding merges signatures", adding_merges_signatures },
		{ "adding replaces nothing", adding_replaces_nothing },
		{ "adding at once", adding_at_once },
		{ "invalid ones are refused", invalid_ones_are_refused },
		{ "listing", listing },
		{ "listing while putting", listing_while_putting },
		{ "the generation moves", generation_moves },
		{ "deadline and cancel", deadline_and_cancel },
		{ "many threads", many_threads },
		{ "an iterator outlives the handle", iterator_outlives_the_handle },
		{ "reopened", reopened },
	};

	return conformance_run("path_info", cases, ARRAY_LEN(cases), has_path_infos);
}
