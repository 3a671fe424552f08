/*
 * One thread, one epoll: sockets that are listened on, connections whose client has said nothing yet,
 * and a second descriptor of each connection that the library has, to see when it is over. The library
 * shuts a socket down before it closes its own descriptor, so that the second one holds nobody up.
 */
#include "server/rpc_accept.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/pool.h"

enum {
	EVENTS = 64,
	ACCEPTS = 64,   /* of one listening socket before others have their turn */
	PAUSE_MS = 100, /* where the system has no descriptor or memory for one more */
	TICK_MS = 1000, /* how often silent connections are looked for */
	REFUSED_LOG_S = 60,
};

enum watch_kind { WATCH_LISTEN, WATCH_SILENT, WATCH_TAKEN };

/* What the epoll says something of. */
struct watch {
	struct watch *next, **link; /* of those of its kind */
	enum watch_kind kind;
	int fd;    /* watched */
	int taken; /* the library's number of it; -1: none */
	struct client_key key;
	struct client_shares *shares; /* where the connection is counted */
	int64_t until_ns;             /* of a silent one */
};

struct rpc_accept {
	struct rpc_accept_options options;
	struct client_shares *shares, *reserve;
	int epoll_fd, wake_fd;
	bool started;
	pthread_t thread;
	atomic_bool ending;
	/* The thread's alone once it runs: */
	struct watch *listening, *silent, *takens;
	bool paused; /* listening sockets are out of the epoll until paused_until_ns */
	int64_t paused_until_ns, refused_logged_ns;
	/* Under lock: */
	pthread_mutex_t lock;
	struct watch **by_fd; /* the library's numbers → connections */
	size_t by_fd_len;
};

static void push(struct watch **list, struct watch *watch)
{
	watch->next = *list;
	watch->link = list;
	if (*list)
		(*list)->link = &watch->next;
	*list = watch;
}

static void pull(struct watch *watch)
{
	*watch->link = watch->next;
	if (watch->next)
		watch->next->link = watch->link;
}

static bool watch_for(struct rpc_accept *accept, struct watch *watch, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = watch };

	return epoll_ctl(accept->epoll_fd, EPOLL_CTL_ADD, watch->fd, &event) == 0;
}

enum rc rpc_accept_new(const struct rpc_accept_options *options, struct rpc_accept **out,
		       struct err *err)
{
	struct rpc_accept *accept = mem_zalloc(sizeof(*accept));
	struct epoll_event wake = { .events = EPOLLIN };

	*out = NULL;
	accept->options = *options;
	accept->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	accept->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&accept->lock, NULL);
	if (accept->epoll_fd < 0 || accept->wake_fd < 0 ||
	    epoll_ctl(accept->epoll_fd, EPOLL_CTL_ADD, accept->wake_fd, &wake) != 0) {
		int errnum = errno;

		rpc_accept_free(accept);
		return err_errno(err, errnum, "cannot wait for connections");
	}
	accept->shares = client_shares_new(options->connections, options->each);
	accept->reserve = client_shares_new(options->reserve, options->reserve);
	*out = accept;
	return RC_OK;
}

enum rc rpc_accept_add(struct rpc_accept *accept, int fd, struct err *err)
{
	struct watch *watch = mem_zalloc(sizeof(*watch));

	*watch = (struct watch){ .kind = WATCH_LISTEN, .fd = fd, .taken = -1 };
	(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	push(&accept->listening, watch);
	return watch_for(accept, watch, EPOLLIN) ? RC_OK : err_errno(err, errno, "epoll");
}

/* ---- Connections ---- */

static void set_taken(struct rpc_accept *accept, int fd, struct watch *watch)
{
	pthread_mutex_lock(&accept->lock);
	if ((size_t)fd >= accept->by_fd_len) {
		size_t len = 2 * (size_t)fd + 64;

		accept->by_fd = mem_realloc_array(accept->by_fd, len, sizeof(struct watch *));
		for (size_t i = accept->by_fd_len; i < len; i++)
			accept->by_fd[i] = NULL;
		accept->by_fd_len = len;
	}
	accept->by_fd[fd] = watch;
	pthread_mutex_unlock(&accept->lock);
}

static void connection_free(struct rpc_accept *accept, struct watch *watch)
{
	pull(watch);
	/* Closing alone would leave it there: the library's descriptor is of the same socket. */
	(void)epoll_ctl(accept->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
	close(watch->fd);
	if (watch->taken >= 0) {
		pthread_mutex_lock(&accept->lock);
		if (accept->by_fd[watch->taken] == watch)
			accept->by_fd[watch->taken] = NULL;
		pthread_mutex_unlock(&accept->lock);
	}
	client_shares_give(watch->shares, &watch->key);
	free(watch);
}

/* The client has said something: the library is to have it. */
static void hand_over(struct rpc_accept *accept, struct watch *watch)
{
	int taken = fcntl(watch->fd, F_DUPFD_CLOEXEC, 0);
	struct epoll_event event = { .events = 0, .data.ptr = watch }; /* EPOLLHUP comes always */

	if (taken < 0 || epoll_ctl(accept->epoll_fd, EPOLL_CTL_MOD, watch->fd, &event) != 0) {
		fd_cleanup(&taken);
		connection_free(accept, watch);
		return;
	}
	pull(watch);
	watch->kind = WATCH_TAKEN;
	watch->taken = taken;
	push(&accept->takens, watch);
	set_taken(accept, taken, watch);
	accept->options.take(accept->options.context, taken);
}

static struct client_shares *count(struct rpc_accept *accept, const struct client_key *key)
{
	if (client_shares_take(accept->shares, key) == CLIENT_SHARE_TAKEN)
		return accept->shares;
	if (client_key_is_local(key) &&
	    client_shares_take(accept->reserve, key) == CLIENT_SHARE_TAKEN)
		return accept->reserve;
	return NULL;
}

static void say_refused(struct rpc_accept *accept)
{
	int64_t now = clock_monotonic_ns();

	if (accept->refused_logged_ns && now < accept->refused_logged_ns + REFUSED_LOG_S * NS_PER_S)
		return;
	accept->refused_logged_ns = now;
	log_warning("connections are refused: %u are open, and at most %u may be, %u of one client",
		    client_shares_held(accept->shares), accept->options.connections,
		    accept->options.each);
}

static void begin(struct rpc_accept *accept, int fd, const struct sockaddr *address)
{
	struct watch *watch;
	struct client_key key;
	int one = 1;

	client_key_of(address, &key);
	struct client_shares *shares = count(accept, &key);
	if (!shares) {
		close(fd);
		say_refused(accept);
		return;
	}
	if (address->sa_family == AF_INET || address->sa_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	watch = mem_zalloc(sizeof(*watch));
	*watch = (struct watch){ .kind = WATCH_SILENT,
				 .fd = fd,
				 .taken = -1,
				 .key = key,
				 .shares = shares,
				 .until_ns = clock_monotonic_ns() + accept->options.first_byte_ns };
	push(&accept->silent, watch);
	if (!watch_for(accept, watch, EPOLLIN))
		connection_free(accept, watch);
}

static void listen_on(struct rpc_accept *accept, bool on)
{
	for (struct watch *at = accept->listening; at; at = at->next) {
		struct epoll_event event = { .events = on ? EPOLLIN : 0, .data.ptr = at };

		(void)epoll_ctl(accept->epoll_fd, EPOLL_CTL_MOD, at->fd, &event);
	}
	accept->paused = !on;
	accept->paused_until_ns = clock_monotonic_ns() + PAUSE_MS * NS_PER_MS;
}

static void accept_from(struct rpc_accept *accept, int listening)
{
	for (int i = 0; i < ACCEPTS; i++) {
		struct sockaddr_storage address = { 0 };
		socklen_t len = sizeof(address);
		int fd = accept4(listening, (struct sockaddr *)&address, &len,
				 SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			begin(accept, fd, (struct sockaddr *)&address);
			continue;
		}
		/* EMFILE, ENFILE, ENOBUFS, ENOMEM, and EPERM of a firewall: asking again at once would
		 * only keep a processor busy. */
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			listen_on(accept, false);
		return;
	}
}

/* ---- The thread ---- */

static void close_listening(struct rpc_accept *accept)
{
	while (accept->listening) {
		struct watch *watch = accept->listening;

		pull(watch);
		close(watch->fd);
		free(watch);
	}
}

static void drop_silent(struct rpc_accept *accept, int64_t now)
{
	for (struct watch *at = accept->silent, *next; at; at = next) {
		next = at->next;
		if (now >= at->until_ns)
			connection_free(accept, at);
	}
}

static void handle(struct rpc_accept *accept, struct watch *watch, uint32_t events)
{
	switch (watch->kind) {
	case WATCH_LISTEN:
		accept_from(accept, watch->fd);
		break;
	case WATCH_SILENT:
		if (events & EPOLLIN)
			hand_over(accept, watch);
		else
			connection_free(accept, watch);
		break;
	case WATCH_TAKEN:
		connection_free(accept, watch);
		break;
	}
}

static void *run(void *arg)
{
	struct rpc_accept *accept = arg;
	int64_t tick = clock_monotonic_ns();

	while (!atomic_load(&accept->ending)) {
		struct epoll_event events[EVENTS];
		int count = epoll_wait(accept->epoll_fd, events, EVENTS,
				       accept->paused ? PAUSE_MS : TICK_MS);
		int64_t now = clock_monotonic_ns();

		for (int i = 0; i < count; i++) {
			struct watch *watch = events[i].data.ptr;
			uint64_t ignored;

			if (watch)
				handle(accept, watch, events[i].events);
			else if (read(accept->wake_fd, &ignored, sizeof(ignored)) < 0)
				continue;
		}
		if (accept->paused && now >= accept->paused_until_ns)
			listen_on(accept, true);
		if (now >= tick) {
			drop_silent(accept, now);
			tick = now + TICK_MS * NS_PER_MS;
		}
	}
	return NULL;
}

enum rc rpc_accept_start(struct rpc_accept *accept, struct err *err)
{
	enum rc rc = thread_start(&accept->thread, "rpc-accept", run, accept, err);

	accept->started = rc == RC_OK;
	return rc;
}

void rpc_accept_stop(struct rpc_accept *accept)
{
	uint64_t one = 1;

	if (accept->started) {
		atomic_store(&accept->ending, true);
		(void)!write(accept->wake_fd, &one, sizeof(one));
		pthread_join(accept->thread, NULL);
		accept->started = false;
	}
	close_listening(accept);
	while (accept->silent)
		connection_free(accept, accept->silent);
}

void rpc_accept_free(struct rpc_accept *accept)
{
	if (!accept)
		return;
	rpc_accept_stop(accept);
	while (accept->takens)
		connection_free(accept, accept->takens);
	client_shares_free(accept->shares);
	client_shares_free(accept->reserve);
	fd_cleanup(&accept->epoll_fd);
	fd_cleanup(&accept->wake_fd);
	pthread_mutex_destroy(&accept->lock);
	free(accept->by_fd);
	free(accept);
}

bool rpc_accept_client(struct rpc_accept *accept, int fd, struct client_key *out)
{
	bool found;

	pthread_mutex_lock(&accept->lock);
	found = fd >= 0 && (size_t)fd < accept->by_fd_len && accept->by_fd[fd];
	if (found)
		*out = accept->by_fd[fd]->key;
	pthread_mutex_unlock(&accept->lock);
	return found;
}

unsigned rpc_accept_connections(struct rpc_accept *accept)
{
	return client_shares_held(accept->shares) + client_shares_held(accept->reserve);
}
