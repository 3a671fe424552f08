/* Who may connect to a socket in the filesystem: --socket-mode and --socket-group. */
#ifndef CASTOR_CLI_SOCKET_ACCESS_H
#define CASTOR_CLI_SOCKET_ACCESS_H

#include <sys/types.h>

#include "cli/cli.h"

struct socket_args {
	const char *mode, *group;
};

/* The two options, in a table of a command whose struct has a struct socket_args of that name. */
#define SOCKET_OPTIONS(type, member)                                                               \
	{ "socket-mode",                                                                           \
	  0,                                                                                       \
	  CLI_STRING,                                                                              \
	  "MODE",                                                                                  \
	  "the mode of sockets in the filesystem, in octal (default: what the umask leaves; with " \
	  "--socket-group: 0660)",                                                                 \
	  offsetof(type, member.mode),                                                             \
	  NULL },                                                                                  \
	{                                                                                          \
		"socket-group", 0, CLI_STRING, "GROUP", "the group of sockets in the filesystem",  \
			offsetof(type, member.group), NULL                                         \
	}

struct socket_access {
	bool given; /* else a socket is as the umask makes it */
	mode_t mode;
	gid_t group; /* (gid_t)-1: as it comes */
};

enum rc socket_access_parse(const struct socket_args *args, struct socket_access *out,
			    struct err *err) MUST_USE;
/* Between the two, sockets (and files) are made that nobody but their owner can use; the process has one
 * umask, so other threads should make none. */
mode_t socket_access_begin(const struct socket_access *access);
void socket_access_end(const struct socket_access *access, mode_t before);
/* Gives the socket at that path its group and its mode. */
enum rc socket_access_give(const struct socket_access *access, const char *path,
			   struct err *err) MUST_USE;

#endif
