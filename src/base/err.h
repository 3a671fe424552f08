/*
 * Outcomes. Every call that can fail returns an enum rc, and takes a struct err into which it puts
 * the sentence that a person reads. The tables from rc to errno, gRPC status, HTTP status and exit
 * status stand in err.c and nowhere else.
 */
#ifndef CASTOR_BASE_ERR_H
#define CASTOR_BASE_ERR_H

#include <stdarg.h>

#include "base/compiler.h"

enum rc {
	RC_OK = 0,
	RC_NOT_FOUND,           /* it was looked for, and is not there */
	RC_EXISTS,              /* something else is already there */
	RC_INVALID,             /* the caller's input is malformed */
	RC_FAILED_PRECONDITION, /* well-formed, but something else has to happen first */
	RC_CORRUPT,             /* stored data contradicts its digest or its format */
	RC_IO,                  /* the operating system failed to read or write */
	RC_UNAVAILABLE,         /* a backend cannot be reached at the moment */
	RC_DEADLINE,            /* the operation's deadline passed */
	RC_BUSY,                /* held by another process; later it may work */
	RC_DENIED,              /* the operating system refuses access */
	RC_NOT_PERMITTED,       /* castor's own policy refuses it */
	RC_UNSUPPORTED,         /* castor, or this backend, does not do this */
	RC_TOO_LARGE,           /* past a stated limit */
	RC_NO_SPACE,            /* the disk, or a quota, is full */
	RC_NO_MEMORY,
	RC_CANCELLED,   /* the operation's cancel flag was set */
	RC_CERTIFICATE, /* a certificate, or its key, cannot be used or is not trusted */
	RC_COUNT_,      /* not an outcome: their number */
};

enum { ERR_MESSAGE_MAX = 1024 };

/* The sentence that belongs to a failure. It starts empty; the last err_set wins. Where a function
 * takes a struct err *, NULL is accepted and the sentence is dropped. */
struct err {
	char message[ERR_MESSAGE_MAX];
};
#define ERR_INIT                                                                                   \
	{                                                                                          \
		.message = ""                                                                      \
	}

/* Sets the sentence and returns rc, so that `return err_set(err, RC_INVALID, "…")` reads well. A
 * sentence has no capital, no full stop and no newline; it names what was wrong and where. */
enum rc err_set(struct err *err, enum rc rc, const char *format, ...) PRINTF_LIKE(3, 4);
enum rc err_setv(struct err *err, enum rc rc, const char *format, va_list args);
/* The same for a failed system call: appends ": <strerror>", returns rc_from_errno(errnum). */
enum rc err_errno(struct err *err, int errnum, const char *format, ...) PRINTF_LIKE(3, 4);
/* Puts "<context>: " before the sentence that is there. Returns rc. */
enum rc err_context(struct err *err, enum rc rc, const char *format, ...) PRINTF_LIKE(3, 4);

/* "not found", "corrupt", …: for logs and for errors that have no sentence. Static storage. */
const char *rc_name(enum rc rc);
enum rc rc_from_errno(int errnum);
/* A positive errno for a FUSE reply or a library caller; 0 for RC_OK. */
int rc_to_errno(enum rc rc);
/* A gRPC status code (google.golang.org/grpc/codes numbering), and back. */
int rc_to_grpc(enum rc rc);
enum rc rc_from_grpc(int status);
/* An HTTP status. */
int rc_to_http(enum rc rc);
/* A process's exit status; stable, listed in castor(1). */
int rc_to_exit(enum rc rc);

#endif
