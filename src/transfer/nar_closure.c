#include "transfer/nar_closure.h"

#include <inttypes.h>
#include <string.h>

#include "base/cursor.h"
#include "nix/closure_entry.h"

/* ---- Out ---- */

enum rc nar_closure_export(const struct services *services, const struct op *op,
			   const struct path_info *infos, size_t count, nar_sink *sink,
			   void *context, struct err *err)
{
	CLEANUP(buf_release) struct buf bytes = BUF_INIT;
	enum rc rc = RC_OK;

	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		char name[STORE_PATH_BASENAME_MAX + 1];

		closure_number_print(CLOSURE_ENTRY, &bytes);
		rc = sink(context, buf_view(&bytes), err);
		buf_clear(&bytes);
		if (rc == RC_OK)
			rc = nar_export(services, op, &infos[i].node, sink, context, err);
		if (rc == RC_CORRUPT) {
			store_path_basename(&infos[i].path, name);
			err_context(err, rc, "%s", name);
		}
		closure_entry_print(&infos[i], &bytes);
	}
	closure_number_print(CLOSURE_END, &bytes);
	return rc == RC_OK ? sink(context, buf_view(&bytes), err) : rc;
}

/* ---- In ---- */

enum { STEP = 64 << 10 };

struct closure_input {
	const struct services *services;
	const struct op *op;
	nar_source *source;
	void *context;
	struct buf bytes; /* read, from `at` on not yet used */
	size_t at;
	bool ended;
	uint64_t number; /* of the path at hand, from 1 */
};

static struct view unused(const struct closure_input *input)
{
	return view_slice(buf_view(&input->bytes), input->at, input->bytes.len - input->at);
}

static enum rc read_more(struct closure_input *input, struct err *err)
{
	size_t got;
	enum rc rc;

	buf_reserve(&input->bytes, STEP);
	rc = input->source(input->context, input->bytes.ptr + input->bytes.len, STEP, &got, err);
	input->ended = rc == RC_OK && got == 0;
	if (rc == RC_OK)
		input->bytes.len += got;
	return rc;
}

static enum rc cut_off(const struct closure_input *input, struct err *err)
{
	return err_set(err, RC_INVALID, "the closure is cut off in its path number %" PRIu64,
		       input->number);
}

static enum rc read_number(struct closure_input *input, uint64_t *out, struct err *err)
{
	struct cursor in;

	while (unused(input).len < sizeof(*out)) {
		enum rc rc = input->ended ? cut_off(input, err) : read_more(input, err);

		if (rc != RC_OK)
			return rc;
	}
	in = cursor_of(unused(input));
	if (cursor_u64le(&in, out))
		input->at += in.at;
	return RC_OK;
}

/* The source of one NAR: what was read already, and then what follows. */
static enum rc read_nar(void *context, void *out, size_t len, size_t *got, struct err *err)
{
	struct closure_input *input = context;
	struct view there = unused(input);

	*got = there.len < len ? there.len : len;
	if (*got == 0)
		return input->source(input->context, out, len, got, err);
	memcpy(out, there.ptr, *got);
	input->at += *got;
	return RC_OK;
}

static enum rc import_nar(struct closure_input *input, struct node *root, struct nar_facts *facts,
			  struct err *err)
{
	CLEANUP(buf_release) struct buf rest = BUF_INIT;
	enum rc rc = nar_import_front(input->services, input->op, read_nar, input, &rest, root,
				      facts, err);

	buf_append_view(&rest, unused(input));
	buf_clear(&input->bytes);
	buf_append_view(&input->bytes, buf_view(&rest));
	input->at = 0;
	return rc;
}

/* The room that a long one takes doubles, so that it is not parsed again and again. */
static enum rc read_entry(struct closure_input *input, struct path_info *out, struct err *err)
{
	size_t tried = 0;

	for (;;) {
		struct view bytes = unused(input);
		bool more = true;
		enum rc rc = RC_OK;

		if (bytes.len >= 2 * tried || input->ended) {
			rc = closure_entry_parse(&bytes, out, &more, err);
			tried = bytes.len;
		}
		if (rc != RC_OK)
			return rc;
		if (!more) {
			input->at = input->bytes.len - bytes.len;
			return RC_OK;
		}
		if (input->ended)
			return cut_off(input, err);
		if (tried > CLOSURE_ENTRY_MAX)
			return err_set(err, RC_INVALID, "what follows a NAR does not end");
		rc = read_more(input, err);
		if (rc != RC_OK)
			return rc;
	}
}

static enum rc check_references(const struct closure_input *input, const struct path_info *info,
				struct err *err)
{
	for (size_t i = 0; i < info->reference_count; i++) {
		const struct store_path *reference = &info->references[i];
		struct path_info found AUTO_PATH_INFO = { .nar_size = 0 };
		char name[STORE_PATH_BASENAME_MAX + 1];
		enum rc rc = RC_OK;

		if (!store_path_equal(reference, &info->path))
			rc = path_info_service_get(input->services->path_infos, input->op,
						   reference->hash, &found, err);
		store_path_basename(reference, name);
		if (rc == RC_NOT_FOUND)
			return err_set(err, rc,
				       "it refers to %s, which neither came before it nor is in "
				       "the store",
				       name);
		if (rc != RC_OK)
			return rc;
	}
	return RC_OK;
}

static enum rc publish(const struct closure_input *input, const struct path_info *info, bool *there,
		       struct err *err)
{
	const struct services *services = input->services;
	struct path_info known AUTO_PATH_INFO = { .nar_size = 0 };
	enum rc rc = path_info_service_get(services->path_infos, input->op, info->path.hash, &known,
					   err);

	*there = rc == RC_OK;
	if (rc == RC_OK &&
	    (known.nar_size != info->nar_size ||
	     memcmp(&known.nar_sha256, &info->nar_sha256, sizeof(known.nar_sha256)) != 0))
		return err_set(err, RC_EXISTS, "it is in the store already, with another content");
	if (rc != RC_NOT_FOUND)
		return rc;
	rc = check_references(input, info, err);
	if (rc == RC_OK)
		rc = path_info_check(info, err);
	return rc == RC_OK ? path_info_service_put(services->path_infos, input->op, info, NULL, err)
			   : rc;
}

static enum rc import_path(struct closure_input *input, nar_closure_imported *imported,
			   void *context, struct err *err)
{
	struct path_info info AUTO_PATH_INFO = { .nar_size = 0 };
	struct node root CLEANUP(node_release) = { .kind = NODE_DIRECTORY };
	struct node named; /* borrows all of it */
	char name[STORE_PATH_BASENAME_MAX + 1];
	struct nar_facts facts;
	bool there = false;
	enum rc rc = import_nar(input, &root, &facts, err);

	if (rc == RC_OK)
		rc = read_entry(input, &info, err);
	if (rc != RC_OK)
		return err_context(err, rc, "path number %" PRIu64 " of the closure",
				   input->number);
	store_path_basename(&info.path, name);
	info.nar_size = facts.nar_size;
	info.nar_sha256 = facts.nar_sha256;
	named = root;
	named.name = view_of_string(name);
	node_copy(&info.node, &named);
	rc = publish(input, &info, &there, err);
	if (rc != RC_OK)
		return err_context(err, rc, "%s", name);
	return imported(context, &info, there, err);
}

enum rc nar_closure_import(const struct services *services, const struct op *op, nar_source *source,
			   void *source_context, nar_closure_imported *imported, void *context,
			   struct err *err)
{
	struct closure_input input = {
		.services = services, .op = op, .source = source, .context = source_context
	};
	uint64_t number = CLOSURE_ENTRY;
	enum rc rc = RC_OK;

	while (rc == RC_OK && number != CLOSURE_END) {
		input.number++;
		rc = op_check(op, err);
		if (rc == RC_OK)
			rc = read_number(&input, &number, err);
		if (rc == RC_OK && number == CLOSURE_ENTRY)
			rc = import_path(&input, imported, context, err);
		else if (rc == RC_OK && number != CLOSURE_END)
			rc = err_set(err, RC_INVALID,
				     "path number %" PRIu64 " does not begin as nix-store --export "
				     "writes it: this is no closure",
				     input.number);
	}
	if (rc == RC_OK && !input.ended && unused(&input).len == 0)
		rc = read_more(&input, err);
	if (rc == RC_OK && unused(&input).len > 0)
		rc = err_set(err, RC_INVALID, "something follows the end of the closure");
	buf_release(&input.bytes);
	return rc;
}
