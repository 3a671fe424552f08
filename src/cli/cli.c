/* What every command uses: the store it was told of, and standard output. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/text.h"
#include "cli/cli.h"

enum rc cli_open_store(struct cli *cli, struct err *err)
{
	enum rc rc = store_addresses_complete(&cli->addresses, cli->default_store, err);

	if (rc == RC_OK)
		rc = store_open(&cli->addresses,
				cli->writes || cli->upstreams.count > 0 ? STORE_WRITE : STORE_READ,
				&cli->services, err);
	for (size_t i = 0; rc == RC_OK && i < cli->upstreams.count; i++)
		rc = store_add_upstream(cli->upstreams.values[i], cli->upstream_required,
					&cli->services, err);
	return rc;
}

static enum rc output_failed(struct cli *cli, struct err *err)
{
	if (errno == EPIPE)
		cli->stdout_gone = true;
	return err_errno(err, errno, "cannot write to standard output");
}

enum rc cli_write(struct cli *cli, struct view bytes, struct err *err)
{
	if (bytes.len > 0 && fwrite(bytes.ptr, 1, bytes.len, stdout) != bytes.len)
		return output_failed(cli, err);
	return RC_OK;
}

enum rc cli_write_buf(struct cli *cli, struct buf *buf, struct err *err)
{
	enum rc rc = cli_write(cli, buf_view(buf), err);

	buf_clear(buf);
	return rc;
}

enum rc cli_flush(struct cli *cli, struct err *err)
{
	return fflush(stdout) == 0 ? RC_OK : output_failed(cli, err);
}

void cli_append_name(const struct cli *cli, struct view name, struct buf *out)
{
	if (cli->on_terminal)
		text_printable(name, out);
	else
		buf_append_view(out, name);
}

enum rc cli_size(const char *option, const char *text, size_t fallback, size_t least, size_t *out,
		 struct err *err)
{
	uint64_t size = least;
	enum rc rc = text ? text_parse_size(text, &size, err) : RC_OK;

	*out = text ? (size_t)size : fallback;
	if (rc == RC_OK && (size < least || size > SIZE_MAX / 2))
		rc = err_set(err, RC_INVALID, "at least %zu bytes, not '%s'", least, text);
	return rc == RC_OK ? RC_OK : err_context(err, rc, "--%s", option);
}

enum rc cli_name_damage(enum rc rc, const char *path, struct err *err)
{
	return rc == RC_CORRUPT ? err_context(err, rc, "%s", path) : rc;
}

void cli_report(enum rc rc, const struct err *err)
{
	struct buf text CLEANUP(buf_release) = BUF_INIT;
	const char *sentence = err->message[0] != '\0' ? err->message : rc_name(rc);

	/* Sentences quote names and bytes of strangers. */
	text_printable(view_of_string(sentence), &text);
	fprintf(stderr, "castor: %s\n", buf_string(&text));
}
