#include "double/daemon.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/url.h"
#include "server/health.h"
#ifdef CASTOR_WITH_REFLECTION
#include "server/reflection.h"
#endif

enum rc daemon_start(struct daemon *daemon, const char *dir, const struct services *services,
		     const struct rpc_server_options *options, struct err *err)
{
	enum rc rc;

	*daemon = (struct daemon){ .socket = mem_printf("%s/socket", dir) };
	daemon->served = (struct store_rpc){ .services = *services,
					     .allow_incomplete = true,
					     .allow_list = true };
	rc = rpc_server_new(options, &daemon->server, err);
	if (rc == RC_OK) {
		store_rpc_register(daemon->server, &daemon->served);
		health_register(daemon->server);
#ifdef CASTOR_WITH_REFLECTION
		reflection_register(daemon->server);
#endif
		rc = rpc_server_listen(daemon->server, daemon->socket, NULL, err);
	}
	if (rc == RC_OK)
		rc = rpc_server_start(daemon->server, err);
	if (rc != RC_OK)
		daemon_stop(daemon);
	return rc;
}

void daemon_stop(struct daemon *daemon)
{
	if (daemon->server)
		rpc_server_stop(daemon->server, 0);
	rpc_server_free(daemon->server);
	store_rpc_release(&daemon->served);
	services_release(&daemon->served.services);
	free(daemon->socket);
	*daemon = (struct daemon){ 0 };
}

enum rc daemon_connect(const struct daemon *daemon, const char *params, struct rpc_channel **out,
		       struct err *err)
{
	char *address AUTO_FREE = mem_printf("grpc+unix://%s%s", daemon->socket, params);
	struct url url CLEANUP(url_release) = { 0 };
	enum rc rc = url_parse(address, &url, err);

	return rc == RC_OK ? rpc_channel_open(&url, out, err) : rc;
}
