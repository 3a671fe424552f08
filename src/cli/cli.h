/*
 * The command line. A command is one file, cmd_<name>.c, that exports one `const struct command
 * command_<name>`; it joins by one line in commands.def. The table of its options serves parsing
 * and help both. A command returns an outcome with its sentence; main prints "castor: <sentence>"
 * and turns the outcome into the exit status (castor(1) lists them).
 *
 * Standard output is what was asked for and nothing else, standard error all the rest. Writing
 * goes through cli_write, so that a full disk or a closed pipe ends a command.
 */
#ifndef CASTOR_CLI_CLI_H
#define CASTOR_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/op.h"
#include "service/services.h"
#include "store/open.h"

struct cli;

enum cli_option_kind {
	CLI_FLAG,     /* bool */
	CLI_STRING,   /* const char * */
	CLI_UNSIGNED, /* unsigned */
	CLI_LIST,     /* struct cli_list: may be given many times */
};

struct cli_list {
	const char **values; /* borrowed strings; the array is freed after the command ran */
	size_t count;
};

struct cli_option {
	const char *name; /* without its dashes; NULL ends a table */
	char letter;      /* 0: none */
	enum cli_option_kind kind;
	const char *argument; /* "NAME", for the help; NULL for a flag */
	const char *help;
	size_t offset; /* of the value in the command's struct of options */
	const char
		*variable; /* the environment variable that says it where no flag does, or NULL */
};

/* Sets of options that many commands share. */
enum {
	CLI_STORE = 1,    /* --store and the three addresses: cli_open_store */
	CLI_JSON = 2,     /* --json: cli->json */
	CLI_UPSTREAM = 4, /* --upstream: cli_open_store puts them behind the store */
	CLI_WRITES = 8,   /* no option: the command stores something */
};

struct command {
	const char *name;                 /* one word, or two: "nar dump" */
	const char *arguments;            /* "PATH…", for the help; NULL: none */
	const char *summary;              /* one line of the list of commands */
	const char *details;              /* more lines for its own help, or NULL */
	unsigned shared;                  /* CLI_STORE, CLI_JSON, CLI_UPSTREAM */
	int least, most;                  /* how many arguments; most -1: any number */
	const struct cli_option *options; /* its own; NULL: none */
	size_t options_size;              /* of the struct that their offsets point into */
	const struct cli_option *group;   /* those that it shares with a few; NULL: none */
	size_t group_offset;              /* of their struct, in that of its own */
	/* options is that struct, zeroed but for what was given. */
	enum rc (*run)(struct cli *cli, const void *options, int argc, char **argv,
		       struct err *err);
};

/* Every command, in the order of the help. */
extern const struct command *const commands[];
extern const size_t command_count;

struct cli {
	const struct command *command;
	struct store_addresses addresses; /* what the flags said, then completed */
	char default_store[STORE_ADDRESS_MAX];
	struct cli_list upstreams;
	bool upstream_required;
	bool json;
	bool writes; /* the store is made where there is none: CLI_WRITES, or the command says so */
	bool on_terminal; /* standard output is a terminal: names are escaped */
	bool stdout_gone; /* nobody reads standard output any more */
	/* Cancelled by the first SIGINT or SIGTERM; the second one kills. */
	struct op op;
	/* Readable from that first signal on (of SIGHUP, too, once cli_hangup_ends was called): for a command that waits in poll. */
	int signal_fd;
	struct services services; /* empty before cli_open_store; released by main */
};

/* From here on SIGHUP is as SIGTERM, unless it is ignored (nohup). main.c */
void cli_hangup_ends(void);

/* From here on SIGHUP ends nothing: the descriptor (an eventfd) becomes readable. main.c */
int cli_hangup_fd(void);

/* Opens the store that flags, environment and defaults name, into cli->services. */
enum rc cli_open_store(struct cli *cli, struct err *err) MUST_USE;

/* To standard output, buffered; main flushes. */
enum rc cli_write(struct cli *cli, struct view bytes, struct err *err) MUST_USE;
/* Writes what is in buf, and empties it. */
enum rc cli_write_buf(struct cli *cli, struct buf *buf, struct err *err) MUST_USE;
/* What cli_write holds back: before something else writes to the descriptor. */
enum rc cli_flush(struct cli *cli, struct err *err) MUST_USE;
/* Appends a name from a store: escaped if standard output is a terminal, else as it is. */
void cli_append_name(const struct cli *cli, struct view name, struct buf *out);
/* What the option --OPTION says, at least so many bytes; the fallback where it is not given (text NULL). */
enum rc cli_size(const char *option, const char *text, size_t fallback, size_t least, size_t *out,
		 struct err *err) MUST_USE;
/* Damage is told with what the person named, whatever it was that was read of it. Returns rc. */
enum rc cli_name_damage(enum rc rc, const char *path, struct err *err);
/* "castor: <sentence>" on standard error now, for a command that goes on after a failure. */
void cli_report(enum rc rc, const struct err *err);

/* options.c */

/* The command that the first words of argv name, and how many words those were; else RC_INVALID. */
enum rc cli_find_command(int argc, char **argv, const struct command **out, int *words,
			 struct err *err) MUST_USE;
/* Options may stand before the command: `castor --store URL list`. Moves the words of the command, of
 * which those options are, before them. Nothing where argv[1] is no option, or there is no such command. */
void cli_hoist_command(int argc, char **argv);
/* Does the command take that long option? */
bool cli_has_option(const struct command *command, const char *name);
/* argv[0] is the command's last word. Permutes argv; *first is the first argument left. *help: its
 * help was asked for, nothing else was checked. *values is to be given to cli_free_options. */
enum rc cli_parse_options(struct cli *cli, int argc, char **argv, void **values, int *first,
			  bool *help, struct err *err) MUST_USE;
void cli_free_options(const struct command *command, void *values);
void cli_command_help(const struct command *command, struct buf *out);
void cli_overview(struct buf *out);
/* The commands that begin with this word ("nar"); false: none does. */
bool cli_group_help(const char *word, struct buf *out);

#endif
