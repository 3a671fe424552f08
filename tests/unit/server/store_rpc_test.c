/*
 * The services over a real socket: the bytes of other programs' conversations, and bad clients. The
 * test speaks by the client's own calls, with messages made by hand.
 */
#include "server/store_rpc.h"

#include "../golden_wire.h"
#include "base/clock.h"
#include "castore/directory.h"
#include "double/daemon.h"
#include "net/messages.h"
#include "service/blob/memory.h"
#include "service/directory/memory.h"
#include "service/path_info/memory.h"

struct fixture {
	char *dir;
	struct daemon daemon;
	struct rpc_channel *channel;
	struct err err;
};

static struct services memory_services(void)
{
	return (struct services){ .blobs = blob_memory_new(),
				  .directories = directory_memory_new(),
				  .path_infos = path_info_memory_new(),
				  .nar_facts = nar_facts_memory_new() };
}

static void start(struct fixture *fixture, const char *params)
{
	struct services services = memory_services();

	*fixture = (struct fixture){ .dir = testing_dir() };
	assert_ok(daemon_start(&fixture->daemon, fixture->dir, &services,
			       &(struct rpc_server_options){ 0 }, &fixture->err),
		  &fixture->err);
	assert_ok(daemon_connect(&fixture->daemon, params, &fixture->channel, &fixture->err),
		  &fixture->err);
}

static void stop(struct fixture *fixture)
{
	rpc_channel_unref(fixture->channel);
	daemon_stop(&fixture->daemon);
	testing_dir_cleanup(&fixture->dir);
}

/* Sends all messages of a stream, closes it, and gives the one reply or the status. */
static enum rc put_stream(struct fixture *fixture, const char *method, const struct buf *messages,
			  size_t count, struct buf *reply)
{
	struct rpc_stream *stream = rpc_stream_open(fixture->channel, &op_none, method);
	bool end = false;
	enum rc rc = RC_OK;

	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		struct buf copy = BUF_INIT;

		buf_append_view(&copy, buf_view(&messages[i]));
		rc = rpc_stream_write(stream, &op_none, &copy, &fixture->err);
		buf_release(&copy);
	}
	if (rc == RC_OK)
		rc = rpc_stream_close_send(stream, &op_none, &fixture->err);
	if (rc == RC_OK)
		rc = rpc_stream_read(stream, &op_none, reply, &end, &fixture->err);
	assert_false(rc == RC_OK && end);
	rpc_stream_free(stream);
	return rc;
}

static enum rc unary(struct fixture *fixture, const char *method, const struct buf *request,
		     struct buf *reply)
{
	buf_clear(reply);
	return rpc_unary(fixture->channel, &op_none, method, buf_view(request), false, reply,
			 &fixture->err);
}

static void put_blob(struct fixture *fixture, const char *content)
{
	struct digest digest;

	assert_ok(blob_service_put(fixture->daemon.served.services.blobs, &op_none,
				   view_of_string(content), &digest, &fixture->err),
		  &fixture->err);
}

enum { DIRECTORIES = 5 };

static void golden_directories(struct buf messages[DIRECTORIES])
{
	/* Theirs come root first: root, empty, nested, deep, deeper. Reversed, leaves come first. */
	for (int i = 0; i < DIRECTORIES; i++) {
		messages[i] = (struct buf)BUF_INIT;
		golden_wire("DirectoryService.Get recursive", DIRECTORIES - 1 - i, &messages[i]);
	}
}

static void release_all(struct buf *messages, size_t count)
{
	for (size_t i = 0; i < count; i++)
		buf_release(&messages[i]);
}

static void check_conversation(const char *params)
{
	struct fixture fixture;
	struct buf messages[DIRECTORIES];
	struct buf request CLEANUP(buf_release) = BUF_INIT;
	struct buf reply CLEANUP(buf_release) = BUF_INIT;
	struct buf golden CLEANUP(buf_release) = BUF_INIT;
	struct rpc_stream *stream;
	bool end;

	start(&fixture, params);
	if (!*params) {
		struct buf probe CLEANUP(buf_release) = BUF_INIT;

		message_write_stat_request(&digest_empty, false, &probe);
		assert_ok(rpc_family_find(fixture.channel, &op_none, "castore.v1.BlobService/Stat",
					  buf_view(&probe), &fixture.err),
			  &fixture.err);
	}
	golden_directories(messages);
	assert_ok(put_stream(&fixture, "castore.v1.DirectoryService/Put", messages, DIRECTORIES,
			     &reply),
		  &fixture.err);
	/* The closure, root first, each once: the very bytes, in an order of ours. */
	golden_wire("DirectoryService.Get recursive", -1, &request);
	stream = rpc_stream_open(fixture.channel, &op_none, "castore.v1.DirectoryService/Get");
	assert_ok(rpc_stream_write(stream, &op_none, &request, &fixture.err), &fixture.err);
	assert_ok(rpc_stream_close_send(stream, &op_none, &fixture.err), &fixture.err);
	for (int i = 0; i < DIRECTORIES; i++) {
		assert_ok(rpc_stream_read(stream, &op_none, &reply, &end, &fixture.err),
			  &fixture.err);
		assert_false(end);
		if (i == 0)
			assert_view_equal(buf_view(&reply), buf_view(&messages[DIRECTORIES - 1]));
	}
	assert_ok(rpc_stream_read(stream, &op_none, &reply, &end, &fixture.err), &fixture.err);
	assert_true(end);
	rpc_stream_free(stream);
	/* A path info, put and got. */
	golden_wire("PathInfoService.Get", 0, &golden);
	assert_ok(unary(&fixture, "store.v1.PathInfoService/Put", &golden, &reply), &fixture.err);
	assert_view_equal(buf_view(&reply), buf_view(&golden));
	golden_wire("PathInfoService.Get", -1, &request);
	assert_ok(unary(&fixture, "store.v1.PathInfoService/Get", &request, &reply), &fixture.err);
	assert_view_equal(buf_view(&reply), buf_view(&golden));
	release_all(messages, DIRECTORIES);
	stop(&fixture);
}

static void conversations(void **state)
{
	(void)state;
	check_conversation("?package=snix");
	check_conversation("?package=tvix");
	check_conversation("");
}

static void unknown_root_is_an_empty_stream(void **state)
{
	struct fixture fixture;
	struct buf request CLEANUP(buf_release) = BUF_INIT;
	struct buf reply CLEANUP(buf_release) = BUF_INIT;
	struct rpc_stream *stream;
	struct digest digest = { { 1 } };
	bool end;

	(void)state;
	start(&fixture, "?package=snix");
	message_write_get_directory(&digest, true, &request);
	stream = rpc_stream_open(fixture.channel, &op_none, "castore.v1.DirectoryService/Get");
	assert_ok(rpc_stream_write(stream, &op_none, &request, &fixture.err), &fixture.err);
	assert_ok(rpc_stream_close_send(stream, &op_none, &fixture.err), &fixture.err);
	assert_ok(rpc_stream_read(stream, &op_none, &reply, &end, &fixture.err), &fixture.err);
	assert_true(end);
	rpc_stream_free(stream);
	message_write_get_directory(&digest, false, &request);
	assert_rc(RC_NOT_FOUND,
		  unary(&fixture, "castore.v1.DirectoryService/Get", &request, &reply),
		  &fixture.err);
	stop(&fixture);
}

static void wrong_uploads_leave_nothing(void **state)
{
	struct fixture fixture;
	struct buf messages[DIRECTORIES];
	struct buf reply CLEANUP(buf_release) = BUF_INIT;
	const char *put = "castore.v1.DirectoryService/Put";
	struct digest root;
	struct directory *dir;

	(void)state;
	start(&fixture, "?package=snix");
	golden_directories(messages);
	assert_rc(RC_INVALID, put_stream(&fixture, put, messages, 0, &reply), &fixture.err);
	/* A parent before its child; then leaves that nobody refers to. */
	assert_rc(RC_INVALID, put_stream(&fixture, put, messages + 1, DIRECTORIES - 1, &reply),
		  &fixture.err);
	assert_rc(RC_INVALID,
		  put_stream(&fixture, put, (struct buf[]){ messages[0], messages[3] }, 2, &reply),
		  &fixture.err);
	/* A field that is no field of a Directory. */
	buf_append_byte(&messages[0], 0x78);
	buf_append_byte(&messages[0], 1);
	assert_rc(RC_INVALID, put_stream(&fixture, put, messages, 1, &reply), &fixture.err);
	messages[0].len -= 2;
	/* All of the tree, and then something wrong: whole leaves may stay, what refers to them does not count as put. */
	assert_rc(RC_INVALID,
		  put_stream(&fixture, put, (struct buf[]){ messages[0], messages[1], messages[3] },
			     3, &reply),
		  &fixture.err);
	root = digest_of(buf_view(&messages[DIRECTORIES - 1]));
	assert_rc(RC_NOT_FOUND,
		  directory_service_get(fixture.daemon.served.services.directories, &op_none, &root,
					&dir, &fixture.err),
		  &fixture.err);
	release_all(messages, DIRECTORIES);
	stop(&fixture);
}

static void a_cut_upload_leaves_nothing(void **state)
{
	struct fixture fixture;
	struct rpc_stream *stream;
	struct buf message = BUF_INIT;
	struct digest digest = digest_of(view_of_string("hello"));
	bool there;

	(void)state;
	start(&fixture, "?package=snix");
	stream = rpc_stream_open(fixture.channel, &op_none, "castore.v1.BlobService/Put");
	message_begin_blob_chunk(5, &message);
	buf_append_string(&message, "hello");
	assert_ok(rpc_stream_write(stream, &op_none, &message, &fixture.err), &fixture.err);
	rpc_stream_free(stream); /* cancels */
	clock_sleep_ns(50 * NS_PER_MS);
	assert_ok(blob_service_has_many(fixture.daemon.served.services.blobs, &op_none, &digest, 1,
					&there, &fixture.err),
		  &fixture.err);
	assert_false(there);
	stop(&fixture);
}

static void incomplete_path_infos(void **state)
{
	struct fixture fixture;
	struct buf messages[DIRECTORIES];
	struct buf info CLEANUP(buf_release) = BUF_INIT;
	struct buf reply CLEANUP(buf_release) = BUF_INIT;
	const char *put = "store.v1.PathInfoService/Put";

	(void)state;
	start(&fixture, "?package=tvix");
	fixture.daemon.served.allow_incomplete = false;
	golden_directories(messages);
	golden_wire("PathInfoService.Get", 0, &info);
	assert_rc(RC_FAILED_PRECONDITION, unary(&fixture, put, &info, &reply), &fixture.err);
	assert_says(&fixture.err,
		    "0423505cbc9c955ef8083f2f4e176a3d0336925aafbb7a75eb8a5183c80beea1");
	assert_says(&fixture.err, "--allow-incomplete");
	assert_ok(put_stream(&fixture, "castore.v1.DirectoryService/Put", messages, DIRECTORIES,
			     &reply),
		  &fixture.err);
	put_blob(&fixture, "hello\n");
	put_blob(&fixture, "#!/bin/sh\nexit 0\n");
	put_blob(&fixture, "twin");
	put_blob(&fixture, "x");
	put_blob(&fixture, "y");
	assert_rc(RC_FAILED_PRECONDITION, unary(&fixture, put, &info, &reply), &fixture.err);
	/* Only `big` is left. */
	assert_says(&fixture.err,
		    "d9c01eee89dd7f9562e886e4f63592fda9ceef12304cfa78ea1409e93b63f65b");
	assert_null(strstr(fixture.err.message, "8e4c7c1b"));
	release_all(messages, DIRECTORIES);
	stop(&fixture);
}

/* A daemon that is told to protect what it has. */
static void path_infos_are_not_replaced(void **state)
{
	struct fixture fixture;
	struct buf info CLEANUP(buf_release) = BUF_INIT, other CLEANUP(buf_release) = BUF_INIT;
	struct buf reply CLEANUP(buf_release) = BUF_INIT;
	struct path_info parsed AUTO_PATH_INFO = { 0 };
	const char *put = "store.v1.PathInfoService/Put";

	(void)state;
	start(&fixture, "?package=snix");
	golden_wire("PathInfoService.Get", 0, &info);
	assert_ok(path_info_decode(buf_view(&info), &parsed, &fixture.err), &fixture.err);
	parsed.nar_size++;
	path_info_encode(&parsed, &other);
	assert_ok(unary(&fixture, put, &info, &reply), &fixture.err);
	fixture.daemon.served.no_replace = true;
	assert_rc(RC_EXISTS, unary(&fixture, put, &other, &reply), &fixture.err);
	assert_ok(unary(&fixture, put, &info, &reply), &fixture.err);
	fixture.daemon.served.no_replace = false;
	assert_ok(unary(&fixture, put, &other, &reply), &fixture.err);
	stop(&fixture);
}

/* One that is kept already is not stored again; another of its path replaces it. */
static void path_infos_are_replaced(void **state)
{
	const char *put = "store.v1.PathInfoService/Put", *get = "store.v1.PathInfoService/Get";
	struct fixture fixture;
	struct path_info info AUTO_PATH_INFO = { 0 };
	struct buf message CLEANUP(buf_release) = BUF_INIT;
	struct buf request CLEANUP(buf_release) = BUF_INIT;
	struct buf reply CLEANUP(buf_release) = BUF_INIT;
	uint64_t before, after;

	(void)state;
	start(&fixture, "?package=tvix");
	golden_wire("PathInfoService.Get", 0, &message);
	assert_ok(path_info_decode(buf_view(&message), &info, &fixture.err), &fixture.err);
	message_write_get_path_info(info.path.hash, &request);
	for (int i = 0; i < 3; i++) {
		info.nar_size += i == 2;
		buf_clear(&message);
		path_info_encode(&info, &message);
		assert_ok(path_info_service_generation(fixture.daemon.served.services.path_infos,
						       &op_none, &before, &fixture.err),
			  &fixture.err);
		assert_ok(unary(&fixture, put, &message, &reply), &fixture.err);
		assert_view_equal(buf_view(&reply), buf_view(&message));
		assert_ok(path_info_service_generation(fixture.daemon.served.services.path_infos,
						       &op_none, &after, &fixture.err),
			  &fixture.err);
		assert_int_equal(after != before, i != 1);
		assert_ok(unary(&fixture, get, &request, &reply), &fixture.err);
		assert_view_equal(buf_view(&reply), buf_view(&message));
	}
	stop(&fixture);
}

static void unknown_and_malformed(void **state)
{
	struct fixture fixture;
	struct buf request CLEANUP(buf_release) = BUF_INIT;
	struct buf reply CLEANUP(buf_release) = BUF_INIT;

	(void)state;
	start(&fixture, "?package=snix");
	assert_rc(RC_UNSUPPORTED,
		  unary(&fixture, "castore.v1.BlobService/Delete", &request, &reply), &fixture.err);
	assert_rc(RC_INVALID, unary(&fixture, "castore.v1.BlobService/Stat", &request, &reply),
		  &fixture.err);
	buf_append_string(&request, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff");
	assert_rc(RC_INVALID, unary(&fixture, "castore.v1.BlobService/Stat", &request, &reply),
		  &fixture.err);
	assert_rc(RC_INVALID, unary(&fixture, "castore.v1.DirectoryService/Get", &request, &reply),
		  &fixture.err);
	assert_rc(RC_INVALID, unary(&fixture, "store.v1.PathInfoService/Get", &request, &reply),
		  &fixture.err);
	assert_rc(RC_INVALID, unary(&fixture, "store.v1.PathInfoService/Put", &request, &reply),
		  &fixture.err);
	assert_rc(RC_INVALID,
		  unary(&fixture, "store.v1.PathInfoService/CalculateNAR", &request, &reply),
		  &fixture.err);
	/* Past the limit of a message: the library refuses it, and the next client is served. */
	buf_clear(&request);
	buf_append_zeros(&request, (16 << 20) + 1);
	assert_rc(RC_TOO_LARGE, unary(&fixture, "castore.v1.BlobService/Stat", &request, &reply),
		  &fixture.err);
	buf_clear(&request);
	message_write_stat_request(&digest_empty, true, &request);
	assert_ok(unary(&fixture, "castore.v1.BlobService/Stat", &request, &reply), &fixture.err);
	stop(&fixture);
}

static void a_restarted_server(void **state)
{
	struct fixture fixture;
	struct services services = memory_services();
	struct buf request CLEANUP(buf_release) = BUF_INIT;
	struct buf reply CLEANUP(buf_release) = BUF_INIT;

	(void)state;
	start(&fixture, "?package=snix");
	message_write_stat_request(&digest_empty, true, &request);
	assert_ok(unary(&fixture, "castore.v1.BlobService/Stat", &request, &reply), &fixture.err);
	daemon_stop(&fixture.daemon);
	assert_rc(RC_UNAVAILABLE, unary(&fixture, "castore.v1.BlobService/Stat", &request, &reply),
		  &fixture.err);
	assert_ok(daemon_start(&fixture.daemon, fixture.dir, &services,
			       &(struct rpc_server_options){ 0 }, &fixture.err),
		  &fixture.err);
	/* Tried again until the channel has connected. */
	buf_clear(&reply);
	assert_ok(rpc_unary(fixture.channel, &op_none, "castore.v1.BlobService/Stat",
			    buf_view(&request), true, &reply, &fixture.err),
		  &fixture.err);
	stop(&fixture);
}

static void a_live_socket_is_not_taken(void **state)
{
	struct fixture fixture;
	struct daemon second;
	struct services services = memory_services();

	(void)state;
	start(&fixture, "");
	assert_rc(RC_BUSY,
		  daemon_start(&second, fixture.dir, &services, &(struct rpc_server_options){ 0 },
			       &fixture.err),
		  &fixture.err);
	stop(&fixture);
}

/* Clients that open a stream and then say nothing hold no thread: with two threads, others are served. */
static void stalled_clients(void **state)
{
	enum { STALLED = 300 };
	struct fixture fixture = { .dir = testing_dir() };
	struct services services = memory_services();
	struct rpc_server_options options = { .threads = 2, .limits = { .streams = 2 * STALLED } };
	struct rpc_stream *streams[STALLED];
	struct buf request CLEANUP(buf_release) = BUF_INIT;
	struct buf reply CLEANUP(buf_release) = BUF_INIT;

	(void)state;
	assert_ok(daemon_start(&fixture.daemon, fixture.dir, &services, &options, &fixture.err),
		  &fixture.err);
	assert_ok(daemon_connect(&fixture.daemon, "?package=tvix", &fixture.channel, &fixture.err),
		  &fixture.err);
	for (size_t i = 0; i < STALLED; i++) {
		struct buf message = BUF_INIT;

		streams[i] =
			rpc_stream_open(fixture.channel, &op_none, "castore.v1.BlobService/Put");
		message_begin_blob_chunk(1, &message);
		buf_append_byte(&message, 'x');
		assert_ok(rpc_stream_write(streams[i], &op_none, &message, &fixture.err),
			  &fixture.err);
	}
	message_write_stat_request(&digest_empty, true, &request);
	assert_ok(unary(&fixture, "castore.v1.BlobService/Stat", &request, &reply), &fixture.err);
	for (size_t i = 0; i < STALLED; i++)
		rpc_stream_free(streams[i]);
	stop(&fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(conversations),
		cmocka_unit_test(unknown_root_is_an_empty_stream),
		cmocka_unit_test(wrong_uploads_leave_nothing),
		cmocka_unit_test(a_cut_upload_leaves_nothing),
		cmocka_unit_test(incomplete_path_infos),
		cmocka_unit_test(path_infos_are_not_replaced),
		cmocka_unit_test(path_infos_are_replaced),
		cmocka_unit_test(unknown_and_malformed),
		cmocka_unit_test(a_restarted_server),
		cmocka_unit_test(a_live_socket_is_not_taken),
		cmocka_unit_test(stalled_clients),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
