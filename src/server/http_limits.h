/* What an HTTP server gives to its clients, and to one of them. */
#ifndef CASTOR_SERVER_HTTP_LIMITS_H
#define CASTOR_SERVER_HTTP_LIMITS_H

#include <stdint.h>

struct http_limits {
	unsigned connections;        /* at once */
	unsigned client_connections; /* of one client; requests, where a proxy brings them */
	unsigned health_connections; /* more than `connections`, for /healthz alone */
	unsigned threads;            /* that serve connections; 0: one a processor */
	unsigned workers;            /* requests that wait for this machine's disks */
	unsigned remote_workers;     /* requests that wait for other machines */
	int64_t head_ns;             /* from a new connection to the end of its first head */
	int64_t idle_ns;             /* from one request to the end of the next one's head */
	int64_t wait_ns;             /* that a request waits for others */
	uint64_t rate;               /* the least bytes a second of a body, over rate_ns */
	int64_t rate_ns;
};

/* 1,024; 256; 16; one a processor; 16; 64; 10 s; 60 s; 10 min; 1 KiB a second over 30 s. */
extern const struct http_limits http_limits_default;

#endif
