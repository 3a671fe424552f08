/*
 * The body of an uploaded NAR, compressed or not, as it comes from a network: it is decompressed and
 * stored on the way, in bounded memory, and ends as a pending upload (pending_upload.h). Nothing here
 * waits for anything but free and finish: a server with few threads for many connections pushes what
 * there is room for, and is told when there is room again.
 */
#ifndef CASTOR_TRANSFER_NAR_UPLOAD_H
#define CASTOR_TRANSFER_NAR_UPLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "service/services.h"

struct nar_upload_limits {
	uint64_t nar_bytes;    /* of one NAR, decompressed */
	uint64_t client_bytes; /* of NARs of one client that come, or wait for a narinfo */
	uint64_t all_bytes;    /* the same of all clients */
	int64_t keep_ns;       /* how long one waits, from its upload or its last use */
	int64_t count_ns;      /* and how long it counts after that: its bytes stay in the store */
	int64_t upload_ns;     /* how long one upload may take */
	unsigned parallel;     /* uploads that are being stored at once */
	unsigned open; /* uploads at once, with those that wait for bytes or for their turn */
	unsigned client_open; /* the same of one client */
};
/* 1 TiB, 64 GiB, 256 GiB, a day, another day, six hours, 8, 128, 32. */
extern const struct nar_upload_limits nar_upload_limits_default;

struct nar_uploads;
/* Borrows services, which need all but path_infos; copies the limits. Thread-safe. */
struct nar_uploads *nar_uploads_new(const struct services *services,
				    const struct nar_upload_limits *limits);
void nar_uploads_free(struct nar_uploads *uploads); /* NULL is fine; no upload may be open */

struct nar_upload;
/* Called by another thread, once for each time that write took less than all, or finish was not done
 * (perhaps before that call has come back): ask again. It must not call anything of the upload. */
typedef void nar_upload_wake(void *context);

/* url is the path below the cache ("nar/….nar.xz"): copied. client tells clients apart: hashed. expected:
 * bytes that the client says will come, which must fit into what it may have; 0: it does not say.
 * RC_INVALID for a URL that is too long; RC_BUSY where too many uploads are open already. An upload is
 * used by one thread at a time. One that waits for bytes is in nobody's way. */
enum rc nar_upload_open(struct nar_uploads *uploads, struct view url, struct view client,
			uint64_t expected, nar_upload_wake *wake, void *context,
			struct nar_upload **out, struct err *err) MUST_USE;
/* Takes the first *taken bytes. Where the upload has failed already: its outcome. */
enum rc nar_upload_write(struct nar_upload *upload, struct view bytes, size_t *taken,
			 struct err *err) MUST_USE;
/* No more bytes will come. *done: it is over, with this outcome, and if that is RC_OK it is pending:
 * durable, and known to every process. Not done: RC_OK.
 * RC_INVALID: not a NAR, or broken; RC_UNSUPPORTED: compressed in a way that castor does not know;
 * RC_TOO_LARGE: past a limit. */
enum rc nar_upload_finish(struct nar_upload *upload, bool *done, struct err *err) MUST_USE;
/* Gives up what is not done, and waits until nothing of it runs any more. NULL is fine. */
void nar_upload_free(struct nar_upload *upload);

#endif
