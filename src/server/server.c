/* Several servers as one. */
#include "server/server.h"

#include "base/clock.h"

enum rc servers_start(const struct server *servers, size_t count, struct err *err)
{
	for (size_t i = 0; i < count; i++) {
		enum rc rc = servers[i].ops->start(servers[i].self, err);

		if (rc != RC_OK) {
			servers_stop(servers, i, 0);
			return rc;
		}
	}
	return RC_OK;
}

void servers_stop(const struct server *servers, size_t count, int64_t grace_ns)
{
	int64_t until_ns = clock_monotonic_ns() + grace_ns;

	for (size_t i = 0; i < count; i++)
		servers[i].ops->drain(servers[i].self);
	for (size_t i = 0; i < count; i++)
		servers[i].ops->stop(servers[i].self, until_ns);
}
