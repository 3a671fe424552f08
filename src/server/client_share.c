#include "server/client_share.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/hashmap.h"
#include "base/mem.h"

enum { NETWORK = 8 }; /* bytes of a /64 */

static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

static void key_of_v6(const struct in6_addr *address, struct client_key *out)
{
	if (IN6_IS_ADDR_V4MAPPED(address))
		memcpy(out->bytes, address, sizeof(out->bytes));
	else
		memcpy(out->bytes, address, NETWORK);
	/* ::1 must not be taken for a local socket. */
	if (IN6_IS_ADDR_LOOPBACK(address))
		out->bytes[sizeof(out->bytes) - 1] = 1;
}

static void key_of_v4(const struct in_addr *address, struct client_key *out)
{
	memcpy(out->bytes, mapped, sizeof(mapped));
	memcpy(out->bytes + sizeof(mapped), address, sizeof(*address));
}

void client_key_of(const struct sockaddr *address, struct client_key *out)
{
	*out = (struct client_key){ { 0 } };
	if (address->sa_family == AF_INET6)
		key_of_v6(&((const struct sockaddr_in6 *)address)->sin6_addr, out);
	else if (address->sa_family == AF_INET)
		key_of_v4(&((const struct sockaddr_in *)address)->sin_addr, out);
}

bool client_key_parse(struct view text, struct client_key *out)
{
	char name[INET6_ADDRSTRLEN];
	struct in6_addr v6;
	struct in_addr v4;

	*out = (struct client_key){ { 0 } };
	if (text.len == 0 || text.len >= sizeof(name))
		return false;
	memcpy(name, text.ptr, text.len);
	name[text.len] = '\0';
	if (inet_pton(AF_INET, name, &v4) == 1)
		key_of_v4(&v4, out);
	else if (inet_pton(AF_INET6, name, &v6) == 1)
		key_of_v6(&v6, out);
	else
		return false;
	return true;
}

bool client_key_is_local(const struct client_key *key)
{
	static const struct client_key local;

	return memcmp(key, &local, sizeof(local)) == 0;
}

struct client_shares {
	unsigned total, each;
	pthread_mutex_t lock;
	/* Under lock: */
	unsigned held;
	struct hashmap clients; /* key → how many it holds, as a pointer */
};

struct client_shares *client_shares_new(unsigned total, unsigned each)
{
	struct client_shares *shares = mem_zalloc(sizeof(*shares));

	shares->total = total;
	shares->each = each;
	pthread_mutex_init(&shares->lock, NULL);
	hashmap_init(&shares->clients, sizeof(struct client_key));
	return shares;
}

void client_shares_free(struct client_shares *shares)
{
	if (!shares)
		return;
	hashmap_release(&shares->clients);
	pthread_mutex_destroy(&shares->lock);
	free(shares);
}

enum client_share client_shares_take(struct client_shares *shares, const struct client_key *key)
{
	enum client_share taken = CLIENT_SHARE_TAKEN;

	pthread_mutex_lock(&shares->lock);
	uintptr_t own = (uintptr_t)hashmap_get(&shares->clients, key);
	if (shares->held >= shares->total)
		taken = CLIENT_SHARE_ALL_USED;
	else if (own >= shares->each && !client_key_is_local(key))
		taken = CLIENT_SHARE_OWN_USED;
	if (taken == CLIENT_SHARE_TAKEN) {
		shares->held++;
		hashmap_put(&shares->clients, key, (void *)(own + 1));
	}
	pthread_mutex_unlock(&shares->lock);
	return taken;
}

void client_shares_give(struct client_shares *shares, const struct client_key *key)
{
	pthread_mutex_lock(&shares->lock);
	uintptr_t own = (uintptr_t)hashmap_get(&shares->clients, key);
	assert(own > 0 && shares->held > 0);
	shares->held--;
	if (own == 1)
		hashmap_remove(&shares->clients, key);
	else
		hashmap_put(&shares->clients, key, (void *)(own - 1));
	pthread_mutex_unlock(&shares->lock);
}

unsigned client_shares_held(struct client_shares *shares)
{
	pthread_mutex_lock(&shares->lock);
	unsigned held = shares->held;
	pthread_mutex_unlock(&shares->lock);
	return held;
}
