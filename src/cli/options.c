/* Commands and options: found, parsed and explained from the same tables. */
#include <ctype.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "cli/cli.h"

enum { OPTIONS_MAX = 64, HELP_COLUMN = 34 };

static const struct cli_option store_options[] = {
	{ .name = "store",
	  .kind = CLI_STRING,
	  .argument = "URL",
	  .help = "the store, for all three services",
	  .variable = "CASTOR_STORE",
	  .offset = offsetof(struct cli, addresses.store) },
	{ .name = "blob-service-addr",
	  .kind = CLI_STRING,
	  .argument = "URL",
	  .help = "where blobs are",
	  .variable = "BLOB_SERVICE_ADDR",
	  .offset = offsetof(struct cli, addresses.blobs) },
	{ .name = "directory-service-addr",
	  .kind = CLI_STRING,
	  .argument = "URL",
	  .help = "where directories are",
	  .variable = "DIRECTORY_SERVICE_ADDR",
	  .offset = offsetof(struct cli, addresses.directories) },
	{ .name = "path-info-service-addr",
	  .kind = CLI_STRING,
	  .argument = "URL",
	  .help = "where path infos are",
	  .variable = "PATH_INFO_SERVICE_ADDR",
	  .offset = offsetof(struct cli, addresses.path_infos) },
	{ .name = NULL },
};

static const struct cli_option upstream_options[] = {
	{ .name = "upstream",
	  .kind = CLI_LIST,
	  .argument = "URL",
	  .help = "a store or a binary cache behind the store",
	  .offset = offsetof(struct cli, upstreams) },
	{ .name = "upstream-required",
	  .kind = CLI_FLAG,
	  .help = "fail where an upstream does not answer, instead of going on without it",
	  .offset = offsetof(struct cli, upstream_required) },
	{ .name = NULL },
};

static const struct cli_option json_options[] = {
	{ .name = "json",
	  .kind = CLI_FLAG,
	  .help = "print JSON, with exact numbers",
	  .offset = offsetof(struct cli, json) },
	{ .name = NULL },
};

static const struct cli_option help_options[] = {
	{ .name = "help", .letter = 'h', .kind = CLI_FLAG, .help = "print this" },
	{ .name = NULL },
};

/* One option of a command, and the value that it fills. */
struct bound_option {
	const struct cli_option *option;
	void *value; /* NULL for --help */
	bool given;
};

struct bound_options {
	struct bound_option list[OPTIONS_MAX];
	int count;
	int own; /* the first ones, whose variables are looked up here */
};

static void bind(struct bound_options *bound, const struct cli_option *table, void *base)
{
	for (; table && table->name; table++) {
		if (bound->count == OPTIONS_MAX)
			abort(); /* a table of ours has grown past it */
		bound->list[bound->count++] = (struct bound_option){
			.option = table,
			.value = base ? (char *)base + table->offset : NULL,
		};
	}
}

static void bind_all(struct bound_options *bound, const struct command *command, struct cli *cli,
		     void *values)
{
	bind(bound, command->options, values);
	bind(bound, command->group, values ? (char *)values + command->group_offset : NULL);
	bound->own = bound->count;
	if (command->shared & CLI_UPSTREAM)
		bind(bound, upstream_options, cli);
	if (command->shared & CLI_JSON)
		bind(bound, json_options, cli);
	if (command->shared & CLI_STORE)
		bind(bound, store_options, cli);
	bind(bound, help_options, NULL);
}

/* ---- Which command ---- */

/* Does the name begin with that word, and has a second one? */
static bool in_group(const struct command *command, const char *word)
{
	size_t len = strlen(word);

	return strncmp(command->name, word, len) == 0 && command->name[len] == ' ';
}

static bool group_exists(const char *word)
{
	for (size_t i = 0; i < command_count; i++) {
		if (in_group(commands[i], word))
			return true;
	}
	return false;
}

enum rc cli_find_command(int argc, char **argv, const struct command **out, int *words,
			 struct err *err)
{
	*out = NULL;
	*words = 0;
	for (size_t i = 0; i < command_count; i++) {
		const struct command *command = commands[i];

		if (strcmp(command->name, argv[0]) == 0)
			*words = 1;
		else if (argc > 1 && in_group(command, argv[0]) &&
			 strcmp(command->name + strlen(argv[0]) + 1, argv[1]) == 0)
			*words = 2;
		else
			continue;
		*out = command;
		return RC_OK;
	}
	if (group_exists(argv[0]))
		return err_set(err, RC_INVALID, "which %s command? See \"castor help %s\"", argv[0],
			       argv[0]);
	if (argv[0][0] == '-')
		return err_set(
			err, RC_INVALID,
			"no command that takes the option %s comes after it: see \"castor help\"",
			argv[0]);
	return err_set(err, RC_INVALID, "there is no command \"%s\": see \"castor help\"", argv[0]);
}

/* ---- Parsing ---- */

static enum rc parse_unsigned(const struct cli_option *option, const char *text, const char *source,
			      unsigned *out, struct err *err)
{
	uint64_t value;

	if (!text_parse_u64(view_of_string(text), &value) || value > INT32_MAX)
		return err_set(err, RC_INVALID, "%s%s takes a number, not \"%s\"", source,
			       option->name, text);
	*out = (unsigned)value;
	return RC_OK;
}

static enum rc parse_variable_flag(const struct cli_option *option, const char *text, bool *out,
				   struct err *err)
{
	static const char *const yes[] = { "1", "true", "yes", "on" };
	static const char *const no[] = { "0", "false", "no", "off", "" };

	for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
		if (strcmp(text, yes[i]) == 0) {
			*out = true;
			return RC_OK;
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(no); i++) {
		if (strcmp(text, no[i]) == 0)
			return RC_OK;
	}
	return err_set(err, RC_INVALID, "the variable %s is neither true nor false: \"%s\"",
		       option->variable, text);
}

static enum rc take_value(struct bound_option *bound, const char *text, struct err *err)
{
	struct cli_list *list;

	bound->given = true;
	switch (bound->option->kind) {
	case CLI_FLAG:
		*(bool *)bound->value = true;
		break;
	case CLI_STRING:
		*(const char **)bound->value = text;
		break;
	case CLI_UNSIGNED:
		return parse_unsigned(bound->option, text, "--", bound->value, err);
	case CLI_LIST:
		list = bound->value;
		list->values =
			mem_realloc_array(list->values, list->count + 1, sizeof(*list->values));
		list->values[list->count++] = text;
		break;
	}
	return RC_OK;
}

/* Those that no flag gave. The addresses have rules of their own about which of flags and variables
 * goes first: store_addresses_complete. */
static enum rc take_variables(struct bound_options *bound, struct err *err)
{
	for (int i = 0; i < bound->own; i++) {
		struct bound_option *at = &bound->list[i];
		const char *text = NULL;
		enum rc rc = RC_OK;

		if (at->option->variable && !at->given)
			text = getenv(at->option->variable);
		if (!text)
			continue;
		if (at->option->kind == CLI_FLAG)
			rc = parse_variable_flag(at->option, text, at->value, err);
		else if (text[0] != '\0')
			rc = take_value(at, text, err);
		if (rc != RC_OK)
			return rc;
	}
	return RC_OK;
}

/* getopt's tables: a long option returns 256 + its index, a letter itself. */
struct getopt_tables {
	struct option longs[OPTIONS_MAX + 1];
	char letters[2 * OPTIONS_MAX + 2];
};

static void make_tables(const struct bound_options *bound, struct getopt_tables *tables)
{
	char *letter = tables->letters;

	memset(tables, 0, sizeof(*tables));
	*letter++ = ':'; /* tells a missing argument from an unknown option */
	for (int i = 0; i < bound->count; i++) {
		const struct cli_option *option = bound->list[i].option;
		bool argument = option->kind != CLI_FLAG;

		tables->longs[i] = (struct option){
			.name = option->name,
			.has_arg = argument ? required_argument : no_argument,
			.val = 256 + i,
		};
		if (!option->letter)
			continue;
		*letter++ = option->letter;
		if (argument)
			*letter++ = ':';
	}
}

static struct bound_option *find_bound(struct bound_options *bound, int value)
{
	if (value >= 256)
		return &bound->list[value - 256];
	for (int i = 0; i < bound->count; i++) {
		if (bound->list[i].option->letter == value)
			return &bound->list[i];
	}
	abort();
}

static enum rc bad_option(const struct command *command, int value, const char *argument,
			  struct err *err)
{
	if (value == ':')
		return err_set(err, RC_INVALID, "%s: the option %s needs a value", command->name,
			       argument);
	if (optopt > 0 && optopt < 256)
		return err_set(err, RC_INVALID,
			       "%s: there is no option -%c: see \"castor help %s\"", command->name,
			       optopt, command->name);
	if (optopt >= 256)
		return err_set(err, RC_INVALID, "%s: the option takes no value: %s", command->name,
			       argument);
	return err_set(err, RC_INVALID,
		       "%s: there is no such option, or several: %s: see \"castor help %s\"",
		       command->name, argument, command->name);
}

static enum rc check_count(const struct command *command, int count, struct err *err)
{
	if (count < command->least)
		return err_set(err, RC_INVALID, "usage: castor %s [OPTION…] %s", command->name,
			       command->arguments);
	if (command->most >= 0 && count > command->most)
		return err_set(err, RC_INVALID,
			       "%s: %d arguments are too many: usage: castor %s [OPTION…] %s",
			       command->name, count, command->name,
			       command->arguments ? command->arguments : "");
	return RC_OK;
}

enum rc cli_parse_options(struct cli *cli, int argc, char **argv, void **values, int *first,
			  bool *help, struct err *err)
{
	const struct command *command = cli->command;
	struct bound_options bound = { .count = 0 };
	struct getopt_tables tables;
	int value;
	enum rc rc;

	*values = mem_zalloc(command->options_size ? command->options_size : 1);
	*first = argc;
	*help = false;
	bind_all(&bound, command, cli, *values);
	make_tables(&bound, &tables);

	opterr = 0;
	optind = 0; /* starts anew */
	while ((value = getopt_long(argc, argv, tables.letters, tables.longs, NULL)) != -1) {
		struct bound_option *at;

		if (value == '?' || value == ':')
			return bad_option(command, value, argv[optind - 1], err);
		at = find_bound(&bound, value);
		if (!at->value) {
			*help = true;
			return RC_OK;
		}
		rc = take_value(at, optarg, err);
		if (rc != RC_OK)
			return rc;
	}
	*first = optind;
	rc = check_count(command, argc - optind, err);
	if (rc != RC_OK)
		return rc;
	return take_variables(&bound, err);
}

static void free_lists(const struct cli_option *option, void *base)
{
	for (; option && option->name; option++) {
		if (option->kind == CLI_LIST)
			free(((struct cli_list *)(void *)((char *)base + option->offset))->values);
	}
}

void cli_free_options(const struct command *command, void *values)
{
	if (!values)
		return;
	free_lists(command->options, values);
	free_lists(command->group, (char *)values + command->group_offset);
	free(values);
}

bool cli_has_option(const struct command *command, const char *name)
{
	struct bound_options bound = { .count = 0 };
	struct cli none = { .json = false };

	bind_all(&bound, command, &none, NULL);
	for (int i = 0; i < bound.count; i++) {
		if (strcmp(bound.list[i].option->name, name) == 0)
			return true;
	}
	return false;
}

/* ---- Options before the command ---- */

/* Are argv[1] to argv[count] options of the command and their values, and nothing else? */
static bool are_options_of(const struct command *command, int count, char **argv)
{
	struct bound_options bound = { .count = 0 };
	struct cli none = { .json = false };
	struct getopt_tables tables;
	AUTO_FREE char **words = mem_array((size_t)count + 2, sizeof(*words));
	int value;

	bind_all(&bound, command, &none, NULL);
	make_tables(&bound, &tables);
	memcpy(words, argv, ((size_t)count + 1) * sizeof(*words));
	words[count + 1] = NULL;
	opterr = 0;
	optind = 0; /* starts anew, whatever an earlier call left */
	while ((value = getopt_long(count + 1, words, tables.letters, tables.longs, NULL)) != -1) {
		if (value == '?' || value == ':')
			return false;
	}
	return optind == count + 1;
}

void cli_hoist_command(int argc, char **argv)
{
	if (argc < 2 || argv[1][0] != '-')
		return;
	for (int at = 2; at < argc; at++) {
		const struct command *command;
		struct err ignored = ERR_INIT;
		int words;

		if (cli_find_command(argc - at, argv + at, &command, &words, &ignored) != RC_OK ||
		    !are_options_of(command, at - 1, argv))
			continue;
		char *moved[2] = { argv[at], argv[at + words - 1] };
		memmove(argv + 1 + words, argv + 1, ((size_t)at - 1) * sizeof(*argv));
		memcpy(argv + 1, moved, (size_t)words * sizeof(*argv));
		return;
	}
}

/* ---- Help ---- */

/* Columns that UTF-8 text takes, if each character takes one. */
static size_t columns(struct view text)
{
	size_t count = 0;

	for (size_t i = 0; i < text.len; i++)
		count += (text.ptr[i] & 0xc0) != 0x80;
	return count;
}

/* left, and right in its column. */
static void help_line(struct buf *out, struct buf *left, size_t column, const char *right)
{
	size_t at = columns(buf_view(left));

	buf_append_view(out, buf_view(left));
	if (at + 2 > column) {
		buf_append_byte(out, '\n');
		at = 0;
	}
	for (; at < column; at++)
		buf_append_byte(out, ' ');
	buf_append_string(out, right);
	buf_append_byte(out, '\n');
	buf_clear(left);
}

static void help_options_of(struct buf *out, const struct bound_options *bound)
{
	struct buf left CLEANUP(buf_release) = BUF_INIT;
	struct buf right CLEANUP(buf_release) = BUF_INIT;

	for (int i = 0; i < bound->count; i++) {
		const struct cli_option *option = bound->list[i].option;

		if (option->letter)
			buf_printf(&left, "  -%c, --%s", option->letter, option->name);
		else
			buf_printf(&left, "      --%s", option->name);
		if (option->argument)
			buf_printf(&left, " %s", option->argument);
		buf_printf(&right, "%s", option->help);
		if (option->kind == CLI_LIST)
			buf_append_string(&right, " (may be repeated)");
		if (option->variable)
			buf_printf(&right, " [%s]", option->variable);
		help_line(out, &left, HELP_COLUMN, buf_string(&right));
		buf_clear(&right);
	}
}

void cli_command_help(const struct command *command, struct buf *out)
{
	struct bound_options bound = { .count = 0 };
	struct cli none = { .json = false };

	buf_printf(out, "castor %s [OPTION…]%s%s\n\n%c%s.\n", command->name,
		   command->arguments ? " " : "", command->arguments ? command->arguments : "",
		   toupper(command->summary[0]), command->summary + 1);
	if (command->details)
		buf_printf(out, "\n%s\n", command->details);
	bind_all(&bound, command, &none, NULL);
	buf_append_string(out, "\nOptions:\n");
	help_options_of(out, &bound);
}

static void command_lines(struct buf *out, const char *group)
{
	struct buf left CLEANUP(buf_release) = BUF_INIT;

	for (size_t i = 0; i < command_count; i++) {
		const struct command *command = commands[i];

		if (group && !in_group(command, group))
			continue;
		buf_printf(&left, "  %s", command->name);
		if (command->arguments)
			buf_printf(&left, " %s", command->arguments);
		help_line(out, &left, HELP_COLUMN, command->summary);
	}
}

bool cli_group_help(const char *word, struct buf *out)
{
	if (!group_exists(word))
		return false;
	command_lines(out, word);
	return true;
}

void cli_overview(struct buf *out)
{
	buf_append_string(out, "castor: a content-addressed store for Nix-like package trees\n\n"
			       "castor COMMAND [OPTION…] [ARGUMENT…]\n\n");
	command_lines(out, NULL);
	buf_append_string(out, "\n\"castor help COMMAND\" tells more of one; castor(1) of all.\n");
}
