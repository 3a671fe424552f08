/*
 * The /dev/fuse channel over a socket that keeps messages apart, as the device does, with a session
 * in the filesystem's place.
 */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "transport/dev_fuse.h"

#include "unit/transport/fake_session.h"

enum { THREADS = 2, CLIENTS = 4, ROUNDS = 500, PATIENCE_MS = 10000 };

struct fixture {
	int peer; /* the kernel's end */
	struct connection connection;
	struct dev_fuse *dev;
};

static void send_request(int peer, uint32_t opcode, uint64_t unique, uint64_t nodeid,
			 const void *body, size_t len)
{
	struct fuse_in_header header = {
		.len = (uint32_t)(sizeof(header) + len),
		.opcode = opcode,
		.unique = unique,
		.nodeid = nodeid,
	};
	uint8_t message[256];
	assert_true(sizeof(header) + len <= sizeof(message));
	memcpy(message, &header, sizeof(header));
	if (len > 0)
		memcpy(message + sizeof(header), body, len);
	assert_int_equal(write(peer, message, sizeof(header) + len), sizeof(header) + len);
}

static void send_getattr(int peer, uint64_t unique, enum fake_node node)
{
	struct fuse_getattr_in in = { .fh = 0 };
	send_request(peer, FUSE_GETATTR, unique, node, &in, sizeof(in));
}

static void send_interrupt(int peer, uint64_t unique)
{
	struct fuse_interrupt_in in = { .unique = unique };
	send_request(peer, FUSE_INTERRUPT, unique + 1, 0, &in, sizeof(in));
}

/* The header of the next answer; its length is checked. */
static struct fuse_out_header next_answer(int peer)
{
	struct pollfd poller = { .fd = peer, .events = POLLIN };
	assert_int_equal(poll(&poller, 1, PATIENCE_MS), 1);
	uint8_t message[256];
	struct fuse_out_header header;
	ssize_t got = read(peer, message, sizeof(message));
	assert_true(got >= (ssize_t)sizeof(header));
	memcpy(&header, message, sizeof(header));
	assert_int_equal(header.len, got);
	if (got == (ssize_t)(sizeof(header) + sizeof(struct fuse_attr_out))) {
		struct fuse_attr_out out;
		memcpy(&out, message + sizeof(header), sizeof(out));
		assert_int_equal(out.attr.ino, header.unique);
	}
	return header;
}

static void expect_answer(int peer, uint64_t unique, int error)
{
	struct fuse_out_header header = next_answer(peer);
	assert_int_equal(header.unique, unique);
	assert_int_equal(header.error, error);
}

static void start(struct fixture *fixture)
{
	int ends[2];
	struct err err = ERR_INIT;
	struct fuse_init_in init = { .major = 7, .minor = 45 };
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	fixture->peer = ends[0];
	assert_int_equal(connection_init(&fixture->connection, NULL, ends[1], false, 0, &err),
			 RC_OK);
	send_request(fixture->peer, FUSE_INIT, 2, 0, &init, sizeof(init));
	assert_int_equal(dev_fuse_new(&fixture->connection, &fixture->dev, &err), RC_OK);
	expect_answer(fixture->peer, 2, 0);
	assert_int_equal(dev_fuse_serve(fixture->dev, THREADS, NULL), RC_OK);
}

static void stop(struct fixture *fixture)
{
	fs_session_cancel_all(fixture->connection.session);
	atomic_store(&fixture->connection.stopping, true);
	dev_fuse_quiesce(fixture->dev);
	connection_free_session(&fixture->connection);
	dev_fuse_free(fixture->dev);
	connection_release(&fixture->connection);
	close(fixture->peer);
}

static void wait_for_blocked(unsigned count)
{
	pthread_mutex_lock(&fake_last->lock);
	while (fake_last->blocked < count)
		pthread_cond_wait(&fake_last->changed, &fake_last->lock);
	pthread_mutex_unlock(&fake_last->lock);
}

static void answers(void **state)
{
	(void)state;
	struct fixture fixture;
	start(&fixture);
	send_getattr(fixture.peer, 4, FAKE_NOW);
	expect_answer(fixture.peer, 4, 0);
	send_getattr(fixture.peer, 6, FAKE_ERROR);
	expect_answer(fixture.peer, 6, -ENOENT);
	send_getattr(fixture.peer, 8, FAKE_LATER);
	expect_answer(fixture.peer, 8, 0);
	send_request(fixture.peer, 4095, 10, 1, NULL, 0);
	expect_answer(fixture.peer, 10, -ENOSYS);
	/* A message that is no request has no unique: it cannot be answered. */
	assert_int_equal(write(fixture.peer, "short", 5), 5);
	send_getattr(fixture.peer, 12, FAKE_NOW);
	expect_answer(fixture.peer, 12, 0);
	stop(&fixture);
}

static void forgets_are_not_answered(void **state)
{
	(void)state;
	struct fixture fixture;
	start(&fixture);
	struct fuse_forget_in in = { .nlookup = 1 };
	for (uint64_t i = 0; i < 100; i++)
		send_request(fixture.peer, FUSE_FORGET, 100 + i, 7, &in, sizeof(in));
	pthread_mutex_lock(&fake_last->lock);
	while (fake_last->forgets < 100)
		pthread_cond_wait(&fake_last->changed, &fake_last->lock);
	pthread_mutex_unlock(&fake_last->lock);
	send_getattr(fixture.peer, 4, FAKE_NOW);
	expect_answer(fixture.peer, 4, 0); /* and nothing before it */
	stop(&fixture);
}

/* Every thread waits; an INTERRUPT, and a request that needs no wait, come through all the same. */
static void relief_comes(void **state)
{
	(void)state;
	struct fixture fixture;
	start(&fixture);
	for (uint64_t i = 0; i < THREADS; i++)
		send_getattr(fixture.peer, 100 + 2 * i, FAKE_BLOCKED);
	wait_for_blocked(THREADS);
	send_getattr(fixture.peer, 50, FAKE_NOW);
	expect_answer(fixture.peer, 50, 0);
	for (uint64_t i = 0; i < THREADS; i++) {
		send_interrupt(fixture.peer, 100 + 2 * i);
		expect_answer(fixture.peer, 100 + 2 * i, -EINTR);
	}
	send_getattr(fixture.peer, 52, FAKE_NOW);
	expect_answer(fixture.peer, 52, 0);
	stop(&fixture);
}

/* More waiting requests than relief readers: those that are held without a thread do not count. */
static void kept_requests_hold_no_thread(void **state)
{
	(void)state;
	struct fixture fixture;
	start(&fixture);
	for (uint64_t i = 0; i < 40; i++)
		send_getattr(fixture.peer, 100 + 2 * i, FAKE_KEPT);
	wait_for_blocked(40);
	send_getattr(fixture.peer, 50, FAKE_NOW);
	expect_answer(fixture.peer, 50, 0);
	send_interrupt(fixture.peer, 110);
	expect_answer(fixture.peer, 110, -EINTR);
	stop(&fixture);
}

static void *client(void *arg)
{
	int peer = *(int *)arg;
	for (int i = 0; i < ROUNDS; i++) {
		/* Shared by several clients: answers come to any of them. */
		send_getattr(peer, (uint64_t)(uintptr_t)&i + (uint64_t)i,
			     i % 3 == 0 ? FAKE_LATER : FAKE_NOW);
		(void)next_answer(peer);
	}
	return NULL;
}

static void many_at_once(void **state)
{
	(void)state;
	struct fixture fixture;
	pthread_t clients[CLIENTS];
	start(&fixture);
	for (int i = 0; i < CLIENTS; i++)
		assert_int_equal(pthread_create(&clients[i], NULL, client, &fixture.peer), 0);
	for (int i = 0; i < CLIENTS; i++)
		pthread_join(clients[i], NULL);
	stop(&fixture);
}

/* Between the session's end and the channel's, requests are refused, not left waiting. */
static void refuses_at_the_end(void **state)
{
	(void)state;
	struct fixture fixture;
	start(&fixture);
	send_getattr(fixture.peer, 100, FAKE_BLOCKED);
	send_getattr(fixture.peer, 102, FAKE_KEPT);
	wait_for_blocked(2);
	fs_session_cancel_all(fixture.connection.session);
	atomic_store(&fixture.connection.stopping, true);
	dev_fuse_quiesce(fixture.dev);
	for (int i = 0; i < 2; i++)
		assert_int_equal(next_answer(fixture.peer).error, -EINTR);
	send_getattr(fixture.peer, 104, FAKE_NOW);
	expect_answer(fixture.peer, 104, -ENOTCONN);
	connection_free_session(&fixture.connection);
	send_getattr(fixture.peer, 106, FAKE_NOW);
	expect_answer(fixture.peer, 106, -ENOTCONN);
	dev_fuse_free(fixture.dev);
	connection_release(&fixture.connection);
	close(fixture.peer);
}

static void end_is_seen(void **state)
{
	(void)state;
	struct fixture fixture;
	start(&fixture);
	struct pollfd poller = { .fd = fixture.connection.ended, .events = POLLIN };
	assert_int_equal(poll(&poller, 1, 0), 0);
	shutdown(fixture.peer, SHUT_RDWR);
	assert_int_equal(poll(&poller, 1, PATIENCE_MS), 1);
	stop(&fixture);
}

static void no_init(void **state)
{
	(void)state;
	int ends[2];
	struct connection connection;
	struct dev_fuse *dev;
	struct err err = ERR_INIT;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	assert_int_equal(connection_init(&connection, NULL, ends[1], false, 0, &err), RC_OK);
	close(ends[0]);
	assert_int_equal(dev_fuse_new(&connection, &dev, &err), RC_IO);
	assert_null(dev);
	assert_true(err.message[0] != '\0');
	connection_free_session(&connection);
	connection_release(&connection);
}

static void notifies(void **state)
{
	(void)state;
	struct fixture fixture;
	start(&fixture);
	char data[] = "abcdef";
	struct iovec iov[2] = { { data, 2 }, { data + 2, 4 } };
	struct fs_session *session = fixture.connection.session;
	assert_int_equal(session->ops->notify(session, FUSE_NOTIFY_STORE, iov, 2), 0);
	uint8_t message[64];
	struct fuse_out_header header;
	assert_int_equal(read(fixture.peer, message, sizeof(message)), sizeof(header) + 6);
	memcpy(&header, message, sizeof(header));
	assert_int_equal(header.unique, 0);
	assert_int_equal(header.error, FUSE_NOTIFY_STORE);
	assert_memory_equal(message + sizeof(header), data, 6);
	stop(&fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers),      cmocka_unit_test(forgets_are_not_answered),
		cmocka_unit_test(relief_comes), cmocka_unit_test(kept_requests_hold_no_thread),
		cmocka_unit_test(many_at_once), cmocka_unit_test(refuses_at_the_end),
		cmocka_unit_test(end_is_seen),  cmocka_unit_test(no_init),
		cmocka_unit_test(notifies),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
