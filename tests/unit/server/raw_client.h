/* A client that speaks HTTP/2 by hand, for what a polite one never does. */
#ifndef CASTOR_TESTS_RAW_CLIENT_H
#define CASTOR_TESTS_RAW_CLIENT_H

#include <arpa/inet.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"

struct raw_client {
	int fd;
	uint32_t next_stream;
	int64_t window, stream_window, initial_window; /* of the connection, and of one stream */
};

enum { RAW_DATA = 0, RAW_HEADERS = 1, RAW_END_STREAM = 1, RAW_END_HEADERS = 4 };

static inline bool raw_send(struct raw_client *client, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;

	while (len > 0) {
		ssize_t sent = send(client->fd, at, len, MSG_NOSIGNAL);

		if (sent <= 0)
			return false;
		at += sent;
		len -= (size_t)sent;
	}
	return true;
}

static inline bool raw_frame(struct raw_client *client, uint8_t type, uint8_t flags,
			     uint32_t stream, const void *bytes, size_t len)
{
	uint8_t head[9] = { (uint8_t)(len >> 16),
			    (uint8_t)(len >> 8),
			    (uint8_t)len,
			    type,
			    flags,
			    (uint8_t)(stream >> 24),
			    (uint8_t)(stream >> 16),
			    (uint8_t)(stream >> 8),
			    (uint8_t)stream };

	return raw_send(client, head, sizeof(head)) && raw_send(client, bytes, len);
}

/* From the address `from` to a port of 127.0.0.1; says the preface if `hello`. */
static inline struct raw_client raw_connect(const char *from, int port, bool hello)
{
	struct sockaddr_in own = { .sin_family = AF_INET };
	struct sockaddr_in other = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	struct raw_client client = { socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), 1, 65535,
				     65535, 65535 };

	assert_true(client.fd >= 0);
	assert_int_equal(inet_pton(AF_INET, from, &own.sin_addr), 1);
	assert_int_equal(inet_pton(AF_INET, "127.0.0.1", &other.sin_addr), 1);
	assert_int_equal(bind(client.fd, (struct sockaddr *)&own, sizeof(own)), 0);
	assert_int_equal(connect(client.fd, (struct sockaddr *)&other, sizeof(other)), 0);
	if (hello) {
		static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

		(void)raw_send(&client, preface, sizeof(preface) - 1);
		(void)raw_frame(&client, 4, 0, 0, "", 0);
	}
	return client;
}

/* Opens a stream and sends its headers alone. */
static inline uint32_t raw_open(struct raw_client *client, const char *path)
{
	static const char rest[] = "\x01\x01x" /* :authority */
				   "\x0f\x10\x10"
				   "application/grpc"
				   "\x00\x02te\x08trailers";
	uint8_t block[256] = { 0x83, 0x86, 0x04, (uint8_t)strlen(path) };
	size_t len = 4 + strlen(path);
	uint32_t stream = client->next_stream;

	memcpy(block + 4, path, strlen(path));
	memcpy(block + len, rest, sizeof(rest) - 1);
	(void)raw_frame(client, RAW_HEADERS, RAW_END_HEADERS, stream, block,
			len + sizeof(rest) - 1);
	client->next_stream += 2;
	return stream;
}

/* Reads and drops until the server closes the connection, or for so long. True: it is closed. */
static inline bool raw_closed(struct raw_client *client, int64_t within_ns)
{
	int64_t until = clock_monotonic_ns() + within_ns;
	char dropped[4096];

	for (int64_t left; (left = until - clock_monotonic_ns()) > 0;) {
		struct pollfd wait = { .fd = client->fd, .events = POLLIN };

		if (poll(&wait, 1, (int)(left / NS_PER_MS) + 1) > 0 &&
		    recv(client->fd, dropped, sizeof(dropped), MSG_DONTWAIT) <= 0)
			return true;
	}
	return false;
}

/* One frame of the server: keeps the windows, answers SETTINGS and PING. False: none within that time, or
 * the connection or the stream is over. */
static inline bool raw_pump(struct raw_client *client, uint32_t stream, int64_t within_ns)
{
	struct pollfd wait = { .fd = client->fd, .events = POLLIN };
	uint8_t head[9], body[16384];

	if (poll(&wait, 1, (int)(within_ns / NS_PER_MS)) < 1 ||
	    recv(client->fd, head, sizeof(head), MSG_WAITALL) != sizeof(head))
		return false;
	size_t len = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
	uint32_t id = (uint32_t)head[5] << 24 | (uint32_t)head[6] << 16 | (uint32_t)head[7] << 8 |
		      head[8];
	if (len > sizeof(body) ||
	    (len > 0 && recv(client->fd, body, len, MSG_WAITALL) != (ssize_t)len))
		return false;
	if (head[3] == 8 && len == 4) { /* WINDOW_UPDATE */
		int64_t more = (int64_t)body[0] << 24 | body[1] << 16 | body[2] << 8 | body[3];

		*(id == 0 ? &client->window : &client->stream_window) += more;
	}
	for (size_t at = 0; head[3] == 4 && at + 6 <= len; at += 6) { /* SETTINGS */
		if (body[at + 1] == 4)                                /* INITIAL_WINDOW_SIZE */
			client->stream_window += ((int64_t)body[at + 2] << 24 | body[at + 3] << 16 |
						  body[at + 4] << 8 | body[at + 5]) -
						 client->initial_window;
		if (body[at + 1] == 4)
			client->initial_window = (int64_t)body[at + 2] << 24 | body[at + 3] << 16 |
						 body[at + 4] << 8 | body[at + 5];
	}
	if (head[3] == 4 && !(head[4] & 1))
		(void)raw_frame(client, 4, 1, 0, "", 0);
	if (head[3] == 6 && !(head[4] & 1))
		(void)raw_frame(client, 6, 1, 0, body, len);
	return head[3] != 7 && !(id == stream && (head[3] == 3 || (head[4] & RAW_END_STREAM)));
}

/* Waits until that much may be sent. */
static inline bool raw_has_room(struct raw_client *client, uint32_t stream, int64_t len,
				int64_t within_ns)
{
	while (client->window < len || client->stream_window < len)
		if (!raw_pump(client, stream, within_ns))
			return false;
	return true;
}

/* Reads until those bytes were among what came, or for so long. */
static inline bool raw_receives(struct raw_client *client, const char *bytes, size_t len,
				int64_t within_ns)
{
	int64_t until = clock_monotonic_ns() + within_ns;
	char got[65536];
	size_t have = 0;

	for (int64_t left; (left = until - clock_monotonic_ns()) > 0 && have < sizeof(got);) {
		struct pollfd wait = { .fd = client->fd, .events = POLLIN };

		if (poll(&wait, 1, (int)(left / NS_PER_MS) + 1) < 1)
			continue;
		ssize_t now = recv(client->fd, got + have, sizeof(got) - have, MSG_DONTWAIT);
		if (now <= 0)
			return false;
		have += (size_t)now;
		if (memmem(got, have, bytes, len))
			return true;
	}
	return false;
}

static inline void raw_close(struct raw_client *client)
{
	close(client->fd);
}

#endif
