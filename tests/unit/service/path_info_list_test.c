/* A listing of path infos of which one is damaged, here and behind a daemon. */
#include "../damaged_paths.h"

#ifdef CASTOR_WITH_GRPC
#include "double/daemon.h"
#include "service/path_info/grpc.h"
#endif

/* All but the damaged one, and that by its name; `late`: behind the others. */
static void check(struct path_info_service *service, const uint8_t *after, unsigned first,
		  bool late)
{
	struct path_info_iter *iter;
	unsigned failures = 0, at = first;
	struct err err = ERR_INIT;

	assert_ok(path_info_service_list(service, &op_none, after, &iter, &err), &err);
	for (;;) {
		struct path_info info AUTO_PATH_INFO = { 0 };
		uint8_t hash[STORE_PATH_HASH_SIZE];
		bool end;
		enum rc rc = path_info_iter_next(iter, &op_none, &info, &end, &err);

		if (rc != RC_OK) {
			/* What a server calls DATA_LOSS proves nothing to a client. */
			assert_rc(late ? RC_IO : RC_CORRUPT, rc, &err);
			assert_true(path_info_iter_goes_on(iter));
			damaged_paths_says(&err);
			assert_int_equal(at, late ? DAMAGED_PATHS : DAMAGED_PATH);
			failures++;
			at += !late;
			continue;
		}
		assert_false(path_info_iter_goes_on(iter));
		if (end)
			break;
		if (late && at == DAMAGED_PATH)
			at++;
		damaged_paths_hash(at++, hash);
		assert_memory_equal(info.path.hash, hash, sizeof(hash));
	}
	path_info_iter_free(iter);
	assert_int_equal(at, DAMAGED_PATHS);
	assert_int_equal(failures, late || first <= DAMAGED_PATH);
}

static void a_damaged_one_hides_no_other(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct services services = damaged_paths_open(dir);
	uint8_t hash[STORE_PATH_HASH_SIZE];

	(void)state;
	check(services.path_infos, NULL, 0, false);
	for (unsigned i = 0; i < DAMAGED_PATHS; i++) {
		damaged_paths_hash(i, hash);
		check(services.path_infos, hash, i + 1, false);
	}
	services_release(&services);
}

#ifdef CASTOR_WITH_GRPC

static void behind_a_daemon(void **state)
{
	AUTO_TESTING_DIR char *dir = testing_dir();
	struct services services = damaged_paths_open(dir);
	struct daemon daemon;
	struct rpc_channel *channel;
	struct path_info_service *far;
	uint8_t hash[STORE_PATH_HASH_SIZE];
	struct err err = ERR_INIT;

	(void)state;
	assert_ok(daemon_start(&daemon, dir, &services, &(struct rpc_server_options){ 0 }, &err),
		  &err);
	assert_ok(daemon_connect(&daemon, "?package=snix", &channel, &err), &err);
	far = path_info_grpc_new(channel);
	check(far, NULL, 0, true);
	damaged_paths_hash(0, hash);
	check(far, hash, 1, true);
	path_info_service_unref(far);
	rpc_channel_unref(channel);
	daemon_stop(&daemon);
}

#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_damaged_one_hides_no_other),
#ifdef CASTOR_WITH_GRPC
		cmocka_unit_test(behind_a_daemon),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
