/* Stores, outcomes, and how long a call may take. */
#include "lib/lib.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/open.h"

/* ---- Outcomes ---- */

#define SAME(name) static_assert((int)CASTOR_##name == (int)RC_##name, #name)
SAME(OK);
SAME(NOT_FOUND);
SAME(EXISTS);
SAME(INVALID);
SAME(FAILED_PRECONDITION);
SAME(CORRUPT);
SAME(IO);
SAME(UNAVAILABLE);
SAME(DEADLINE);
SAME(BUSY);
SAME(DENIED);
SAME(NOT_PERMITTED);
SAME(UNSUPPORTED);
SAME(TOO_LARGE);
SAME(NO_SPACE);
SAME(NO_MEMORY);
SAME(CANCELLED);
static_assert((int)RC_COUNT_ == (int)CASTOR_CERTIFICATE + 1, "an outcome that is not public");
static_assert((int)CASTOR_ERROR_MAX == (int)ERR_MESSAGE_MAX, "sentences of one length");

enum castor_rc lib_rc(enum rc rc)
{
	return (enum castor_rc)(int)rc;
}

enum rc lib_rc_from(enum castor_rc rc)
{
	return (int)rc >= 0 && (int)rc < RC_COUNT_ ? (enum rc)(int)rc : RC_INVALID;
}

enum castor_rc lib_result(enum rc rc, const struct err *err, struct castor_error *error)
{
	if (error && rc == RC_OK)
		error->message[0] = '\0';
	else if (error) /* a failure always has a sentence */
		strcpy(error->message, err->message[0] ? err->message : rc_name(rc));
	return lib_rc(rc);
}

const char *castor_rc_name(enum castor_rc rc)
{
	return rc_name(lib_rc_from(rc));
}

const char *castor_version(void)
{
	return CASTOR_VERSION;
}

static struct {
	castor_log_fn *log;
	void *context;
} public_log;

static void log_to_public(void *context, enum log_level level, const char *sentence)
{
	(void)context;
	public_log.log(public_log.context, (int)level, sentence);
}

void castor_set_log(castor_log_fn *log, void *context)
{
	log_set_sink(NULL, NULL);
	public_log.log = log;
	public_log.context = context;
	if (log)
		log_set_sink(log_to_public, NULL);
}

/* ---- Time ---- */

struct castor_cancel *castor_cancel_new(void)
{
	struct castor_cancel *cancel = mem_alloc(sizeof(*cancel));

	atomic_init(&cancel->set, false);
	return cancel;
}

void castor_cancel_set(struct castor_cancel *cancel)
{
	atomic_store(&cancel->set, true);
}

void castor_cancel_free(struct castor_cancel *cancel)
{
	free(cancel);
}

struct op lib_op(const struct castor_op *op)
{
	struct op out = op_none;

	if (!op)
		return out;
	if (op->timeout_ms > 0) {
		int64_t now = clock_monotonic_ns();

		out.deadline_ns = op->timeout_ms > (INT64_MAX - now) / NS_PER_MS
					  ? INT64_MAX
					  : now + op->timeout_ms * NS_PER_MS;
	}
	if (op->cancel)
		out.cancel = &op->cancel->set;
	return out;
}

/* ---- Stores ---- */

enum castor_rc castor_store_open(const struct castor_addresses *addresses,
				 struct castor_store **out, struct castor_error *error)
{
	struct store_addresses completed = { 0 };
	char default_store[STORE_ADDRESS_MAX];
	struct services services;
	struct err err = ERR_INIT;
	enum rc rc;

	*out = NULL;
	if (addresses)
		completed = (struct store_addresses){
			.store = addresses->store,
			.blobs = addresses->blobs,
			.directories = addresses->directories,
			.path_infos = addresses->path_infos,
		};
	rc = store_addresses_complete(&completed, default_store, &err);
	if (rc == RC_OK)
		rc = store_open(&completed, STORE_WRITE, &services, &err);
	if (rc == RC_OK) {
		*out = mem_zalloc(sizeof(**out));
		(*out)->services = services;
	}
	return lib_result(rc, &err, error);
}

enum castor_rc castor_store_add_upstream(struct castor_store *store, const char *address,
					 struct castor_error *error)
{
	struct err err = ERR_INIT;
	enum rc rc = store_add_upstream(address, false, &store->services, &err);

	return lib_result(rc, &err, error);
}

void castor_store_close(struct castor_store *store)
{
	if (!store)
		return;
	services_release(&store->services);
	free(store);
}
