/* castor list: every store path that is known. */
#include "cli/cli.h"
#include "cli/show.h"

static enum rc write_all(struct cli *cli, struct path_info_iter *iter, struct err *err)
{
	struct buf text CLEANUP(buf_release) = BUF_INIT;
	struct json json = { .out = &text };
	struct err first = ERR_INIT;
	enum rc failed = RC_OK;

	if (cli->json)
		json_begin_array(&json);
	for (;;) {
		struct path_info info AUTO_PATH_INFO = { .nar_size = 0 };
		bool end;
		enum rc rc = path_info_iter_next(iter, &cli->op, &info, &end, err);

		if (rc != RC_OK && !path_info_iter_goes_on(iter))
			return rc;
		if (rc != RC_OK) {
			/* One that is damaged hides nothing but itself. */
			if (failed != RC_OK)
				cli_report(rc, err);
			else
				first = *err;
			failed = failed != RC_OK ? failed : rc;
			continue;
		}
		if (end)
			break;
		if (cli->json) {
			if (json.comma)
				buf_append_byte(&text, '\n');
			show_path_info_json(&json, &info);
		} else {
			show_store_path(&info.path, &text);
		}
		rc = cli_write_buf(cli, &text, err);
		if (rc != RC_OK)
			return rc;
	}
	if (cli->json) {
		json_end_array(&json);
		buf_append_byte(&text, '\n');
	}
	enum rc rc = cli_write_buf(cli, &text, err);
	if (rc == RC_OK && failed != RC_OK)
		*err = first;
	return rc == RC_OK ? failed : rc;
}

static enum rc run(struct cli *cli, const void *options, int argc, char **argv, struct err *err)
{
	struct path_info_iter *iter = NULL;
	enum rc rc;

	(void)options, (void)argc, (void)argv;
	rc = cli_open_store(cli, err);
	if (rc != RC_OK)
		return rc;
	rc = path_info_service_list(cli->services.path_infos, &cli->op, NULL, &iter, err);
	if (rc != RC_OK)
		return rc;
	rc = write_all(cli, iter, err);
	path_info_iter_free(iter);
	return rc;
}

const struct command command_list = {
	.name = "list",
	.summary = "print every store path of the store",
	.shared = CLI_STORE | CLI_JSON,
	.run = run,
};
