/* Outcomes, and the tables that translate them for the kernel, for gRPC, for HTTP and the shell. */
#include "base/err.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* google.golang.org/grpc/codes */
enum {
	GRPC_OK = 0,
	GRPC_CANCELLED = 1,
	GRPC_UNKNOWN = 2,
	GRPC_INVALID_ARGUMENT = 3,
	GRPC_DEADLINE_EXCEEDED = 4,
	GRPC_NOT_FOUND = 5,
	GRPC_ALREADY_EXISTS = 6,
	GRPC_PERMISSION_DENIED = 7,
	GRPC_RESOURCE_EXHAUSTED = 8,
	GRPC_FAILED_PRECONDITION = 9,
	GRPC_ABORTED = 10,
	GRPC_OUT_OF_RANGE = 11,
	GRPC_UNIMPLEMENTED = 12,
	GRPC_INTERNAL = 13,
	GRPC_UNAVAILABLE = 14,
	GRPC_DATA_LOSS = 15,
	GRPC_UNAUTHENTICATED = 16,
};

struct rc_row {
	const char *name;
	int errnum;
	int grpc;
	int http;
	int exit; /* stable: scripts depend on it */
};

/* A Nix client takes 403 for "not there", so what the operating system refuses the server is a 500.
 */
static const struct rc_row rows[RC_COUNT_] = {
	[RC_OK] = { "ok", 0, GRPC_OK, 200, 0 },
	[RC_NOT_FOUND] = { "not found", ENOENT, GRPC_NOT_FOUND, 404, 3 },
	[RC_EXISTS] = { "exists already", EEXIST, GRPC_ALREADY_EXISTS, 409, 4 },
	[RC_INVALID] = { "invalid", EINVAL, GRPC_INVALID_ARGUMENT, 400, 2 },
	[RC_FAILED_PRECONDITION] = { "failed precondition", EINVAL, GRPC_FAILED_PRECONDITION, 412,
				     5 },
	[RC_CORRUPT] = { "corrupt", EIO, GRPC_DATA_LOSS, 500, 6 },
	[RC_IO] = { "input/output error", EIO, GRPC_INTERNAL, 500, 1 },
	[RC_UNAVAILABLE] = { "unavailable", EHOSTUNREACH, GRPC_UNAVAILABLE, 503, 7 },
	[RC_DEADLINE] = { "deadline passed", ETIMEDOUT, GRPC_DEADLINE_EXCEEDED, 504, 8 },
	[RC_BUSY] = { "busy", EBUSY, GRPC_ABORTED, 503, 9 },
	[RC_DENIED] = { "access denied", EACCES, GRPC_PERMISSION_DENIED, 500, 10 },
	[RC_NOT_PERMITTED] = { "not permitted", EPERM, GRPC_PERMISSION_DENIED, 403, 11 },
	[RC_UNSUPPORTED] = { "unsupported", EOPNOTSUPP, GRPC_UNIMPLEMENTED, 501, 12 },
	[RC_TOO_LARGE] = { "too large", EFBIG, GRPC_RESOURCE_EXHAUSTED, 413, 13 },
	[RC_NO_SPACE] = { "no space left", ENOSPC, GRPC_RESOURCE_EXHAUSTED, 507, 14 },
	[RC_NO_MEMORY] = { "out of memory", ENOMEM, GRPC_RESOURCE_EXHAUSTED, 503, 15 },
	[RC_CANCELLED] = { "cancelled", EINTR, GRPC_CANCELLED, 503, 130 },
	/* To those behind us it is as if we could not be reached. */
	[RC_CERTIFICATE] = { "bad certificate", EKEYREJECTED, GRPC_UNAVAILABLE, 503, 16 },
};

static const struct rc_row *row_of(enum rc rc)
{
	bool known = (unsigned)rc < RC_COUNT_;

	return &rows[known ? rc : RC_IO];
}

enum rc err_setv(struct err *err, enum rc rc, const char *format, va_list args)
{
	if (err) {
		/* By way of a copy: an argument may be err's own sentence. */
		char message[ERR_MESSAGE_MAX];

		vsnprintf(message, sizeof(message), format, args);
		memcpy(err->message, message, strlen(message) + 1);
	}
	return rc;
}

enum rc err_set(struct err *err, enum rc rc, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	rc = err_setv(err, rc, format, args);
	va_end(args);
	return rc;
}

/* Appends as much of text as fits. */
static void append(struct err *err, const char *text)
{
	size_t len = strlen(err->message);

	snprintf(err->message + len, sizeof(err->message) - len, "%s", text);
}

enum rc err_errno(struct err *err, int errnum, const char *format, ...)
{
	enum rc rc = rc_from_errno(errnum);
	char text[128];
	va_list args;

	if (!err)
		return rc;
	va_start(args, format);
	err_setv(err, rc, format, args);
	va_end(args);
	append(err, ": ");
	append(err, strerror_r(errnum, text, sizeof(text)));
	return rc;
}

enum rc err_context(struct err *err, enum rc rc, const char *format, ...)
{
	char before[ERR_MESSAGE_MAX];
	va_list args;

	if (!err)
		return rc;
	memcpy(before, err->message, sizeof(before));
	va_start(args, format);
	err_setv(err, rc, format, args);
	va_end(args);
	append(err, ": ");
	append(err, before[0] ? before : rc_name(rc));
	return rc;
}

const char *rc_name(enum rc rc)
{
	return row_of(rc)->name;
}

enum rc rc_from_errno(int errnum)
{
	switch (errnum) {
	case 0:
		return RC_OK;
	case ENOENT:
	case ENOTDIR:
	case ENODATA:
		return RC_NOT_FOUND;
	case EEXIST:
	case ENOTEMPTY:
		return RC_EXISTS;
	case EINVAL:
	case ENAMETOOLONG:
	case ELOOP:
	case EISDIR:
		return RC_INVALID;
	case EACCES:
	case EROFS:
		return RC_DENIED;
	case EPERM:
		return RC_NOT_PERMITTED;
	case EBUSY:
	case EAGAIN:
	case ETXTBSY:
		return RC_BUSY;
	case ENOSYS:
	case EOPNOTSUPP:
		return RC_UNSUPPORTED;
	case EFBIG:
	case EOVERFLOW:
	case E2BIG:
		return RC_TOO_LARGE;
	case ENOSPC:
	case EDQUOT:
		return RC_NO_SPACE;
	case ENOMEM:
		return RC_NO_MEMORY;
	case EKEYREJECTED:
		return RC_CERTIFICATE;
	case ETIMEDOUT:
		return RC_DEADLINE;
	case EINTR:
	case ECANCELED:
		return RC_CANCELLED;
	case ECONNREFUSED:
	case ECONNRESET:
	case EHOSTUNREACH:
	case ENETUNREACH:
		return RC_UNAVAILABLE;
	default:
		return RC_IO;
	}
}

int rc_to_errno(enum rc rc)
{
	return row_of(rc)->errnum;
}

int rc_to_grpc(enum rc rc)
{
	return row_of(rc)->grpc;
}

enum rc rc_from_grpc(int status)
{
	switch (status) {
	case GRPC_OK:
		return RC_OK;
	case GRPC_CANCELLED:
		return RC_CANCELLED;
	case GRPC_INVALID_ARGUMENT:
	case GRPC_OUT_OF_RANGE:
		return RC_INVALID;
	case GRPC_DEADLINE_EXCEEDED:
		return RC_DEADLINE;
	case GRPC_NOT_FOUND:
		return RC_NOT_FOUND;
	case GRPC_ALREADY_EXISTS:
		return RC_EXISTS;
	case GRPC_PERMISSION_DENIED:
	case GRPC_UNAUTHENTICATED:
		return RC_NOT_PERMITTED;
	case GRPC_RESOURCE_EXHAUSTED: /* nearly always a message past a limit */
		return RC_TOO_LARGE;
	case GRPC_FAILED_PRECONDITION:
		return RC_FAILED_PRECONDITION;
	case GRPC_ABORTED:
		return RC_BUSY;
	case GRPC_UNIMPLEMENTED:
		return RC_UNSUPPORTED;
	case GRPC_UNAVAILABLE:
		return RC_UNAVAILABLE;
	/* Other programs of this family answer DATA_LOSS also for an upstream's HTTP 500: it proves
	 * no corruption, so it is not called one. */
	case GRPC_DATA_LOSS:
	case GRPC_INTERNAL:
	case GRPC_UNKNOWN:
	default:
		return RC_IO;
	}
}

int rc_to_http(enum rc rc)
{
	return row_of(rc)->http;
}

int rc_to_exit(enum rc rc)
{
	return row_of(rc)->exit;
}
