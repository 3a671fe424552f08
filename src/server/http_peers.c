#include "server/http_peers.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct http_peers {
	struct http_limits limits;
	void (*hang_up)(int fd);
	pthread_mutex_t lock;
	/* Under lock: */
	struct http_peer *first;
	unsigned count, reserved; /* that have not left */
	bool draining;
};

struct http_peers *http_peers_new(const struct http_limits *limits, void (*hang_up)(int fd))
{
	struct http_peers *peers = mem_zalloc(sizeof(*peers));

	peers->limits = *limits;
	peers->hang_up = hang_up;
	pthread_mutex_init(&peers->lock, NULL);
	return peers;
}

static void uncount(struct http_peers *peers, struct http_peer *peer)
{
	if (peer->left)
		return;
	peer->left = true;
	if (peer->reserve)
		peers->reserved--;
	else
		peers->count--;
}

static void leave(struct http_peers *peers, struct http_peer *peer)
{
	if (peer->left)
		return;
	uncount(peers, peer);
	/* Else when it is opened. */
	if (peer->open)
		peers->hang_up(peer->fd);
}

static bool same_client(const struct client_key *a, const struct client_key *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

static bool has_share(const struct client_key *client, bool proxy)
{
	return !proxy && !client_key_is_local(client);
}

/* The one that is longest without a request; of: of that client alone, NULL: of any. */
static struct http_peer *find_idle(const struct http_peers *peers, const struct client_key *of)
{
	struct http_peer *found = NULL;

	for (struct http_peer *at = peers->first; at; at = at->after) {
		if (at->busy || at->left || at->reserve)
			continue;
		if (of && !same_client(&at->client, of))
			continue;
		if (!found || at->since_ns < found->since_ns)
			found = at;
	}
	return found;
}

static unsigned count_of(const struct http_peers *peers, const struct client_key *client)
{
	unsigned count = 0;

	for (const struct http_peer *at = peers->first; at; at = at->after)
		count += !at->left && same_client(&at->client, client);
	return count;
}

/* Makes room for one more. False: there is none; *reserve: in the reserve only. */
static bool make_room(struct http_peers *peers, const struct client_key *client, bool proxy,
		      bool *reserve)
{
	struct http_peer *idle;

	*reserve = false;
	if (peers->draining)
		return false;
	if (has_share(client, proxy) &&
	    count_of(peers, client) >= peers->limits.client_connections) {
		idle = find_idle(peers, client);
		if (!idle)
			return false;
		leave(peers, idle);
	}
	if (peers->count < peers->limits.connections)
		return true;
	idle = find_idle(peers, NULL);
	if (idle) {
		leave(peers, idle);
		return true;
	}
	*reserve = true;
	return peers->reserved < peers->limits.health_connections;
}

struct http_peer *http_peers_add(struct http_peers *peers, const struct client_key *client,
				 bool proxy, int fd, int64_t now_ns)
{
	struct http_peer *peer = NULL;
	bool reserve;

	pthread_mutex_lock(&peers->lock);
	if (make_room(peers, client, proxy, &reserve)) {
		peer = mem_zalloc(sizeof(*peer));
		*peer = (struct http_peer){ .client = *client,
					    .fd = fd,
					    .proxy = proxy,
					    .reserve = reserve,
					    .since_ns = now_ns,
					    .after = peers->first };
		if (peer->after)
			peer->after->before = peer;
		peers->first = peer;
		if (reserve)
			peers->reserved++;
		else
			peers->count++;
	}
	pthread_mutex_unlock(&peers->lock);
	return peer;
}

static void drop(struct http_peers *peers, struct http_peer *peer)
{
	uncount(peers, peer);
	if (peer->before)
		peer->before->after = peer->after;
	else
		peers->first = peer->after;
	if (peer->after)
		peer->after->before = peer->before;
	free(peer);
}

static struct http_peer *find_unopened(const struct http_peers *peers, int fd)
{
	struct http_peer *at = peers->first;

	while (at && (at->open || at->fd != fd))
		at = at->after;
	return at;
}

struct http_peer *http_peers_open(struct http_peers *peers, int fd)
{
	struct http_peer *peer;

	pthread_mutex_lock(&peers->lock);
	peer = find_unopened(peers, fd);
	if (peer) {
		peer->open = true;
		if (peer->left)
			peers->hang_up(peer->fd);
		else if (peers->draining)
			leave(peers, peer);
	}
	pthread_mutex_unlock(&peers->lock);
	return peer;
}

void http_peers_forget(struct http_peers *peers, int fd)
{
	struct http_peer *peer;

	pthread_mutex_lock(&peers->lock);
	peer = find_unopened(peers, fd);
	if (peer)
		drop(peers, peer);
	pthread_mutex_unlock(&peers->lock);
}

void http_peers_remove(struct http_peers *peers, struct http_peer *peer)
{
	pthread_mutex_lock(&peers->lock);
	drop(peers, peer);
	pthread_mutex_unlock(&peers->lock);
}

void http_peer_begin(struct http_peers *peers, struct http_peer *peer)
{
	pthread_mutex_lock(&peers->lock);
	peer->busy = true;
	peer->served = true;
	pthread_mutex_unlock(&peers->lock);
}

void http_peer_end(struct http_peers *peers, struct http_peer *peer, int64_t now_ns)
{
	pthread_mutex_lock(&peers->lock);
	peer->busy = false;
	peer->since_ns = now_ns;
	if (peers->draining)
		leave(peers, peer);
	pthread_mutex_unlock(&peers->lock);
}

void http_peers_check(struct http_peers *peers, int64_t now_ns)
{
	pthread_mutex_lock(&peers->lock);
	for (struct http_peer *at = peers->first; at; at = at->after) {
		int64_t most = at->served ? peers->limits.idle_ns : peers->limits.head_ns;

		if (!at->busy && now_ns - at->since_ns > most)
			leave(peers, at);
	}
	pthread_mutex_unlock(&peers->lock);
}

void http_peers_drain(struct http_peers *peers)
{
	pthread_mutex_lock(&peers->lock);
	peers->draining = true;
	for (struct http_peer *at = peers->first; at; at = at->after) {
		if (!at->busy)
			leave(peers, at);
	}
	pthread_mutex_unlock(&peers->lock);
}

size_t http_peers_count(struct http_peers *peers)
{
	size_t count;

	pthread_mutex_lock(&peers->lock);
	count = (size_t)peers->count + peers->reserved;
	pthread_mutex_unlock(&peers->lock);
	return count;
}

void http_peers_free(struct http_peers *peers)
{
	if (!peers)
		return;
	while (peers->first)
		drop(peers, peers->first);
	pthread_mutex_destroy(&peers->lock);
	free(peers);
}
