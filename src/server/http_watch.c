/* Looks after what is under way, some times a second: clients that went, bodies that do not go on, and
 * heads that do not come. */
#include <netinet/in.h>
#include <linux/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/cond.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/http_exchange.h"

enum { LOOK_EVERY_MS = 200 };

void http_hang_up(int fd)
{
	(void)shutdown(fd, SHUT_RDWR);
}

/* Bytes of bodies, of a reply by what the client's kernel has seen of it: a block may take a slow client
 * long. Where that cannot be known, as on a local socket, the time of a block is added to *window_ns. */
static uint64_t moved_of(const struct exchange *exchange, int64_t *window_ns)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	if (atomic_load(&exchange->stage) != STAGE_REPLY)
		return atomic_load(&exchange->moved);
	if (getsockopt(exchange->peer->fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
	    len >= offsetof(struct tcp_info, tcpi_bytes_acked) + sizeof(info.tcpi_bytes_acked))
		return info.tcpi_bytes_acked;
	if (exchange->server->limits.rate > 0)
		*window_ns += HTTP_BLOCK_MAX * NS_PER_S / (int64_t)exchange->server->limits.rate;
	return atomic_load(&exchange->moved);
}

static bool client_went(const struct exchange *exchange)
{
	struct pollfd fd = { .fd = exchange->peer->fd, .events = POLLRDHUP };

	return poll(&fd, 1, 0) > 0;
}

static void look_at(struct http_server *server, struct exchange *exchange, int64_t now_ns)
{
	const struct http_limits *limits = &server->limits;
	int wake = atomic_load(&exchange->wake);
	int64_t window_ns = limits->rate_ns;
	uint64_t moved;

	if (wake & WAKE_WORKING && client_went(exchange))
		atomic_store(&exchange->cancelled, true);
	if ((wake & WAKE_STATES) != WAKE_RUNNING) {
		http_rate_pause(&exchange->rate);
		return;
	}
	moved = moved_of(exchange, &window_ns);
	if (!http_rate_is_low(&exchange->rate, now_ns, moved, limits->rate, window_ns))
		return;
	log_info("%s: the client is too slow", exchange->base.path);
	http_rate_pause(&exchange->rate);
	http_hang_up(exchange->peer->fd);
}

void *http_watch(void *arg)
{
	struct http_server *server = arg;

	pthread_mutex_lock(&server->lock);
	while (!server->stopped) {
		int64_t now_ns = clock_monotonic_ns();

		http_peers_check(server->peers, now_ns);
		for (struct exchange *at = server->exchanges; at; at = at->after)
			look_at(server, at, now_ns);
		(void)cond_wait_until(&server->stopping, &server->lock,
				      now_ns + LOOK_EVERY_MS * NS_PER_MS);
	}
	pthread_mutex_unlock(&server->lock);
	return NULL;
}
