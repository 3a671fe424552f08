/* Listening addresses of commands that serve, and the time between ready and stopping. */
#include "cli/listen.h"

#include <poll.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

enum { GRACE_S = 20 };

static enum rc listen_systemd(const struct listener *listener, struct err *err)
{
	int count = sd_listen_fds(1);

	if (count < 0)
		return err_errno(err, -count, "cannot take sockets from systemd");
	if (count == 0)
		return err_set(err, RC_INVALID, "sd-listen: systemd passed no socket");
	for (int i = 0; i < count; i++) {
		enum rc rc = listener->socket(listener->server, SD_LISTEN_FDS_START + i, err);

		if (rc != RC_OK)
			return rc;
	}
	return RC_OK;
}

enum rc listen_at(const struct listener *listener, const char *address, struct err *err)
{
	size_t len = strlen(address);
	int port = 0;
	bool is_path = address[0] == '/' || address[0] == '.';
	mode_t before = socket_access_begin(&listener->access);
	enum rc rc = listener->address(listener->server, address, &port, err);

	socket_access_end(&listener->access, before);
	if (rc == RC_OK && is_path)
		rc = socket_access_give(&listener->access, address, err);
	if (rc != RC_OK)
		return rc;
	if (port > 0 && len > 2 && strcmp(address + len - 2, ":0") == 0)
		log_info("listening on %.*s:%d", (int)len - 2, address, port);
	else
		log_info("listening on %s", address);
	return RC_OK;
}

enum rc listen_everywhere(const struct listener *listener, const struct cli_list *addresses,
			  const char *default_address, struct err *err)
{
	if (addresses->count == 0)
		return listen_at(listener, default_address, err);
	for (size_t i = 0; i < addresses->count; i++) {
		const char *address = addresses->values[i];
		enum rc rc = strcmp(address, "sd-listen") == 0 ? listen_systemd(listener, err)
							       : listen_at(listener, address, err);

		if (rc != RC_OK)
			return rc;
	}
	return RC_OK;
}

static void reload_now(const struct reload *reload)
{
	struct err err = ERR_INIT;
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lld",
		   (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
	if (reload->reload(reload->context, &err) == RC_OK)
		log_info("certificates and tokens were read again");
	else
		log_error("%s: going on with what was read before", err.message);
	sd_notify(0, "READY=1");
}

enum rc serve_until_signal(struct cli *cli, const struct server *servers, size_t count,
			   const struct reload *reload, struct err *err)
{
	struct pollfd waits[] = { { .fd = cli->signal_fd, .events = POLLIN },
				  { .fd = cli_hangup_fd(), .events = POLLIN } };
	enum rc rc = servers_start(servers, count, err);

	if (rc != RC_OK)
		return rc;
	log_limit_repeats(LOG_REPEATS, LOG_REPEATS_NS);
	sd_notify(0, "READY=1");
	while (!waits[0].revents) {
		uint64_t times;

		if (poll(waits, ARRAY_LEN(waits), -1) < 0)
			waits[0].revents = waits[1].revents = 0;
		else if (waits[1].revents &&
			 read(waits[1].fd, &times, sizeof(times)) == sizeof(times))
			reload_now(reload);
	}
	sd_notify(0, "STOPPING=1");
	servers_stop(servers, count, GRACE_S * NS_PER_S);
	return RC_OK;
}
