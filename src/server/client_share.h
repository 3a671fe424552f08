/*
 * Who a client is, for what it may hold of a server, and how much of one resource it holds. A client
 * is an IPv4 address, a /64 of IPv6 (which one customer has to choose from), or anybody on a local
 * socket: who may connect there is the socket's mode to say.
 */
#ifndef CASTOR_SERVER_CLIENT_SHARE_H
#define CASTOR_SERVER_CLIENT_SHARE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/buf.h"

struct client_key {
	uint8_t bytes
		[16]; /* IPv4 as ::ffff:a.b.c.d; the first half alone of others; local: zeros */
};

void client_key_of(const struct sockaddr *address, struct client_key *out);
/* From an address as text, without a port or brackets. False: it is none. */
bool client_key_parse(struct view text, struct client_key *out);
bool client_key_is_local(const struct client_key *key);

/* One resource: how many of it are held, and by whom. Thread-safe. */
struct client_shares;
/* At most `total` at once, at most `each` by one client that is not local. */
struct client_shares *client_shares_new(unsigned total, unsigned each);
void client_shares_free(struct client_shares *shares); /* NULL is fine */

enum client_share { CLIENT_SHARE_TAKEN, CLIENT_SHARE_ALL_USED, CLIENT_SHARE_OWN_USED };
/* What was TAKEN is given back once. */
enum client_share client_shares_take(struct client_shares *shares, const struct client_key *key);
void client_shares_give(struct client_shares *shares, const struct client_key *key);
unsigned client_shares_held(struct client_shares *shares);

#endif
