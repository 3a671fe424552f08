/* Questions to a daemon that is away for a moment. */
#include "service/grpc.h"

#include "../testing.h"

#include <pthread.h>

#include "threads.h"
#include "double/daemon.h"
#include "double/double.h"
#include "service/blob/grpc.h"
#include "service/blob/memory.h"
#include "service/directory/grpc.h"
#include "service/directory/memory.h"
#include "service/path_info/memory.h"

enum { ASKED = 600 }; /* more than are in flight at once */

struct fixture {
	char *dir;
	struct double_plan plan;
	struct daemon daemon;
	struct blob_service *blobs;
	struct directory_service *directories;
	struct digest here[2]; /* a blob, a directory */
};

static struct err err;

static void put_one_each(struct fixture *fixture, const struct services *services)
{
	struct directory_put *put;
	struct directory *empty;

	assert_ok(blob_service_put(services->blobs, &op_none, view_of_string("here"),
				   &fixture->here[0], &err),
		  &err);
	assert_ok(directory_from_nodes(NULL, 0, &empty, &err), &err);
	assert_ok(directory_service_open_put(services->directories, &op_none, &put, &err), &err);
	assert_ok(directory_put_add(put, &op_none, empty, &err), &err);
	assert_ok(directory_put_close(put, &op_none, &fixture->here[1], &err), &err);
	directory_put_free(put);
	directory_unref(empty);
}

static void start(struct fixture *fixture)
{
	struct services memory = { .blobs = blob_memory_new(),
				   .directories = directory_memory_new(),
				   .path_infos = path_info_memory_new() };
	struct services doubled;
	struct rpc_channel *channel;

	*fixture = (struct fixture){ .dir = testing_dir() };
	put_one_each(fixture, &memory);
	double_services(&memory, &fixture->plan, &doubled);
	services_release(&memory);
	assert_ok(daemon_start(&fixture->daemon, fixture->dir, &doubled,
			       &(struct rpc_server_options){ 0 }, &err),
		  &err);
	assert_ok(daemon_connect(&fixture->daemon, "?package=snix", &channel, &err), &err);
	fixture->blobs = blob_grpc_new(channel);
	fixture->directories = directory_grpc_new(channel);
	rpc_channel_unref(channel);
}

static void stop(struct fixture *fixture)
{
	blob_service_unref(fixture->blobs);
	directory_service_unref(fixture->directories);
	daemon_stop(&fixture->daemon);
	testing_dir_cleanup(&fixture->dir);
}

/* Asks for many, of which the one in the middle is there. */
static enum rc ask(struct fixture *fixture, bool directories, bool *right)
{
	static struct digest digests[ASKED];
	static bool there[ASKED];
	enum rc rc;

	for (int i = 0; i < ASKED; i++)
		digests[i] = digest_of(view_of(&i, sizeof(i)));
	digests[ASKED / 2] = fixture->here[directories];
	rc = directories
		     ? directory_service_has_many(fixture->directories, &op_none, digests, ASKED,
						  there, &err)
		     : blob_service_has_many(fixture->blobs, &op_none, digests, ASKED, there, &err);
	*right = rc == RC_OK;
	for (int i = 0; rc == RC_OK && i < ASKED; i++)
		*right &= there[i] == (i == ASKED / 2);
	return rc;
}

/* Is well again when it was asked for the first time. */
static void *recover(void *arg)
{
	struct double_plan *plan = arg;

	while (atomic_load(&plan->calls) == 0)
		usleep(1000);
	atomic_store(&plan->rc, RC_OK);
	return NULL;
}

static void away_for_a_moment(void **state)
{
	(void)state;
	for (int directories = 0; directories <= 1; directories++) {
		struct fixture fixture;
		bool right;

		start(&fixture);
		assert_ok(ask(&fixture, directories, &right), &err);
		assert_true(right);
		atomic_store(&fixture.plan.calls, 0);
		atomic_store(&fixture.plan.rc, RC_UNAVAILABLE);
		pthread_t thread = testing_thread("recover", recover, &fixture.plan);
		assert_ok(ask(&fixture, directories, &right), &err);
		assert_true(right);
		pthread_join(thread, NULL);
		stop(&fixture);
	}
}

static void away(void **state)
{
	(void)state;
	for (int directories = 0; directories <= 1; directories++) {
		struct fixture fixture;
		bool right;

		start(&fixture);
		atomic_store(&fixture.plan.rc, RC_UNAVAILABLE);
		assert_rc(RC_UNAVAILABLE, ask(&fixture, directories, &right), &err);
		/* What is no matter of time is told. */
		atomic_store(&fixture.plan.rc, RC_NOT_PERMITTED);
		assert_rc(RC_NOT_PERMITTED, ask(&fixture, directories, &right), &err);
		stop(&fixture);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(away_for_a_moment),
		cmocka_unit_test(away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
