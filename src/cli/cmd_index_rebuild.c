/* castor index rebuild: the index of an on-disk store, rebuilt from its packs alone. */
#include <inttypes.h>
#include <string.h>

#include "base/url.h"
#include "cli/cli.h"
#include "base/json.h"
#include "cli/show.h"
#include "local/local_store.h"

static void append_json(const struct local_rebuild_stats *stats, struct buf *out)
{
	const struct {
		const char *name;
		uint64_t value;
	} members[] = {
		{ "packs", stats->packs },
		{ "records", stats->records },
		{ "chunks", stats->chunks },
		{ "blobs", stats->blobs },
		{ "directories", stats->directories },
		{ "pathInfos", stats->path_infos },
		{ "droppedPathInfos", stats->dropped_path_infos },
		{ "damagedRecords", stats->damaged_records },
	};
	struct json json = { .out = out };

	json_begin_object(&json);
	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		json_key(&json, members[i].name);
		json_u64(&json, members[i].value);
	}
	json_end_object(&json);
	buf_append_byte(out, '\n');
}

static void append_counted(uint64_t count, const char *one, const char *many, struct buf *out)
{
	show_count(count, out);
	buf_printf(out, " %s", count == 1 ? one : many);
}

static void append_sentence(const struct local_rebuild_stats *stats, struct buf *out)
{
	append_counted(stats->path_infos, "store path", "store paths", out);
	buf_append_string(out, ", ");
	append_counted(stats->directories, "directory", "directories", out);
	buf_append_string(out, ", ");
	append_counted(stats->blobs, "blob", "blobs", out);
	buf_append_string(out, " and ");
	append_counted(stats->chunks, "chunk", "chunks", out);
	buf_append_string(out, " from ");
	append_counted(stats->records, "record", "records", out);
	buf_append_string(out, " in ");
	append_counted(stats->packs, "pack", "packs", out);
	buf_append_byte(out, '\n');
	if (stats->dropped_path_infos > 0) {
		append_counted(stats->dropped_path_infos, "store path was", "store paths were",
			       out);
		buf_append_string(out, " dropped, because parts of them are missing\n");
	}
	if (stats->damaged_records > 0) {
		append_counted(stats->damaged_records, "record was", "records were", out);
		buf_append_string(out, " damaged\n");
	}
}

static enum rc run(struct cli *cli, const void *options, int argc, char **argv, struct err *err)
{
	struct local_rebuild_stats stats = { .packs = 0 };
	struct buf text CLEANUP(buf_release) = BUF_INIT;
	struct url url CLEANUP(url_release) = { .scheme = NULL };
	const char *address;
	enum rc rc;

	(void)options, (void)argc, (void)argv;
	rc = store_addresses_complete(&cli->addresses, cli->default_store, err);
	if (rc != RC_OK)
		return rc;
	/* The services may be of several stores; the one that has the path infos is meant. */
	address = cli->addresses.path_infos ? cli->addresses.path_infos : cli->addresses.store;
	rc = url_parse(address, &url, err);
	if (rc != RC_OK)
		return rc;
	if (strcmp(url.scheme, "local") != 0 || url.host[0] != '\0' || url.path[0] != '/')
		return err_set(err, RC_INVALID, "only a store at local:///dir has an index, not %s",
			       address);
	rc = local_store_rebuild_index(url.path, &cli->op, &stats, err);
	if (rc != RC_OK)
		return rc;
	if (cli->json)
		append_json(&stats, &text);
	else
		append_sentence(&stats, &text);
	rc = cli_write_buf(cli, &text, err);
	if (rc == RC_OK && stats.dropped_path_infos + stats.damaged_records > 0)
		rc = err_set(err, RC_CORRUPT, "parts of the store are damaged, and were left out");
	return rc;
}

const struct command command_index_rebuild = {
	.name = "index rebuild",
	.summary = "rebuild the index of a local store from its packs",
	.details = "Nobody else may have the store open meanwhile.",
	.shared = CLI_STORE | CLI_JSON,
	.run = run,
};
