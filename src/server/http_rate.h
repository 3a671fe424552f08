/* Whether a body goes on: least bytes a second. Pure. */
#ifndef CASTOR_SERVER_HTTP_RATE_H
#define CASTOR_SERVER_HTTP_RATE_H

#include <stdbool.h>
#include <stdint.h>

struct http_rate {
	int64_t since_ns; /* CLOCK_MONOTONIC; 0: not measured yet */
	uint64_t moved;   /* bytes, then */
};

/* The other side is not waited for: what passes meanwhile is not its fault. */
static inline void http_rate_pause(struct http_rate *rate)
{
	rate->since_ns = 0;
}

/* moved: bytes that went either way so far. True: since window_ns or longer they were less than `least` a
 * second. */
static inline bool http_rate_is_low(struct http_rate *rate, int64_t now_ns, uint64_t moved,
				    uint64_t least, int64_t window_ns)
{
	int64_t passed_ns = now_ns - rate->since_ns;

	if (rate->since_ns == 0) {
		*rate = (struct http_rate){ now_ns, moved };
		return false;
	}
	if (passed_ns < window_ns)
		return false;
	if (moved - rate->moved < least * (uint64_t)(passed_ns / 1000000) / 1000)
		return true;
	*rate = (struct http_rate){ now_ns, moved };
	return false;
}

#endif
