/*
 * A server, whatever it speaks: what the commands that serve need to know of one. They start all that they
 * have, wait for a signal, have all of them close their doors first, and then give all the same time.
 */
#ifndef CASTOR_SERVER_SERVER_H
#define CASTOR_SERVER_SERVER_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct server_ops {
	/* Begins to serve where it was told to listen. */
	enum rc (*start)(void *self, struct err *err);
	/* Closes the listening sockets, takes nothing new, and comes back at once: what is under way
	 * goes on. */
	void (*drain)(void *self);
	/* After drain: lets what is under way finish until then (CLOCK_MONOTONIC, nanoseconds), ends the
	 * rest, and comes back when nothing runs any more. */
	void (*stop)(void *self, int64_t until_ns);
};

/* Right for one that was never started, too: drain and stop do nothing then, and both twice are as
 * good as once. */
struct server {
	const struct server_ops *ops;
	void *self;
};

/* Starts them in that order; where one cannot, those before it are stopped. */
enum rc servers_start(const struct server *servers, size_t count, struct err *err) MUST_USE;
/* One grace for all of them: no door is open while the first still finishes what it has. */
void servers_stop(const struct server *servers, size_t count, int64_t grace_ns);

#endif
