/* A client for tests of HTTP servers: it sends bytes as they are, and reads replies. */
#ifndef CASTOR_TESTS_SERVER_HTTP_TEST_UTIL_H
#define CASTOR_TESTS_SERVER_HTTP_TEST_UTIL_H

#include "unit/testing.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "server/http_server.h"

enum { HTTP_TEST_PATIENCE_MS = 60000 };

/* ---- A test that hangs ends, and is named ---- */

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { HTTP_TEST_SECONDS = 30 };
#else
enum { HTTP_TEST_SECONDS = 9 };
#endif

static const char *http_watched_test;

static inline void http_test_hangs(int signal)
{
	static const char what[] = " hangs\n";

	(void)signal;
	(void)!write(STDERR_FILENO, http_watched_test, strlen(http_watched_test));
	(void)!write(STDERR_FILENO, what, sizeof(what) - 1);
	_exit(1);
}

static inline int http_watch_test(void **state)
{
	http_watched_test = *state;
	*state = NULL;
	signal(SIGALRM, http_test_hangs);
	alarm(HTTP_TEST_SECONDS);
	return 0;
}

static inline int http_unwatch_test(void **state)
{
	(void)state;
	alarm(0);
	return 0;
}

/* One test of a group, which may take HTTP_TEST_SECONDS. */
#define http_watched(test)                                                                         \
	cmocka_unit_test_prestate_setup_teardown(test, http_watch_test, http_unwatch_test,         \
						 (void *)(uintptr_t) #test)

/* From 127.0.0.<host> to a server on 127.0.0.1. */
static inline int http_connect_from(int host, int port)
{
	struct sockaddr_in from = { .sin_family = AF_INET }, to = from;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	from.sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1 + (unsigned)host);
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	to.sin_port = htons((uint16_t)port);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

/* False: the server closed it before all was there. */
static inline bool http_send(int fd, const void *bytes, size_t len)
{
	const char *at = bytes;

	while (len > 0) {
		ssize_t sent = send(fd, at, len, MSG_NOSIGNAL);

		if (sent <= 0)
			return false;
		at += sent;
		len -= (size_t)sent;
	}
	return true;
}

static inline bool http_send_text(int fd, const char *text)
{
	return http_send(fd, text, strlen(text));
}

struct http_answer {
	int status; /* 0: the connection was closed before there was one */
	struct buf head, body;
	bool closed; /* after it, or within it */
};

static inline void http_answer_release(struct http_answer *answer)
{
	buf_release(&answer->head);
	buf_release(&answer->body);
}

/* The value of a header: a copy, or NULL. */
static inline char *http_answer_header(struct http_answer *answer, const char *name)
{
	size_t len = strlen(name);

	for (char *at = (char *)(uintptr_t)buf_string(&answer->head); (at = strchr(at, '\n'));) {
		at++;
		if (strncasecmp(at, name, len) == 0 && at[len] == ':')
			return mem_strndup(view_of(at + len + 2, strcspn(at + len + 2, "\r\n")));
	}
	return NULL;
}

/* Some bytes; 0: closed. Fails the test where there are none for long. */
static inline size_t http_receive(int fd, void *out, size_t len)
{
	struct pollfd wait = { .fd = fd, .events = POLLIN };
	ssize_t got;

	assert_int_equal(poll(&wait, 1, HTTP_TEST_PATIENCE_MS), 1);
	got = recv(fd, out, len, 0);
	return got > 0 ? (size_t)got : 0;
}

/* One reply. no_body: of a HEAD. */
static inline struct http_answer http_read_answer(int fd, bool no_body)
{
	struct http_answer answer = { .head = BUF_INIT, .body = BUF_INIT };
	char *length;
	uint64_t left = 0;
	char byte;

	while (answer.head.len < 4 ||
	       memcmp(answer.head.ptr + answer.head.len - 4, "\r\n\r\n", 4)) {
		if (http_receive(fd, &byte, 1) == 0) {
			answer.closed = true;
			return answer;
		}
		buf_append(&answer.head, &byte, 1);
	}
	assert_int_equal(sscanf(buf_string(&answer.head), "HTTP/1.%*d %d", &answer.status), 1);
	length = http_answer_header(&answer, "Content-Length");
	if (length && !no_body)
		left = strtoull(length, NULL, 10);
	free(length);
	while (left > 0) {
		uint8_t bytes[65536];
		size_t got = http_receive(fd, bytes, left < sizeof(bytes) ? left : sizeof(bytes));

		if (got == 0) {
			answer.closed = true;
			return answer;
		}
		buf_append(&answer.body, bytes, got);
		left -= got;
	}
	return answer;
}

/* A request of its own connection, by its head without the last empty line and without a Host. */
static inline struct http_answer http_ask_from(int host, int port, const char *head)
{
	char *text AUTO_FREE = mem_printf("%s\r\nHost: x\r\nConnection: close\r\n\r\n", head);
	int fd = http_connect_from(host, port);
	struct http_answer answer;

	(void)http_send_text(fd, text);
	answer = http_read_answer(fd, strncmp(head, "HEAD ", 5) == 0);
	close(fd);
	return answer;
}

/* Its status alone. */
static inline int http_status_from(int host, int port, const char *head)
{
	struct http_answer answer = http_ask_from(host, port, head);

	http_answer_release(&answer);
	return answer.status;
}

static inline bool http_is_closed(int fd)
{
	char byte;

	return http_receive(fd, &byte, 1) == 0;
}

#endif
