/* Addresses of stores: scheme:[//[host[:port]]][path][?name=value&…], percent-encoded. */
#ifndef CASTOR_BASE_URL_H
#define CASTOR_BASE_URL_H

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

enum { URL_MAX = 8192, URL_PARAMS_MAX = 64 };

struct url_param {
	char *name;
	char *value; /* decoded; "" where there was no = */
};

struct url {
	char *scheme; /* lower case, without the colon */
	char *user;   /* "name:password", decoded; NULL: none */
	char *host;   /* with its port, as written; "" where there is none */
	char *path;   /* decoded, never holds a NUL; "" where there is none */
	struct url_param *params;
	size_t param_count;
};

/* In parameters a '+' is a space, as in forms: write %2B. Empty ones ("?a&&b") are skipped.
 * RC_INVALID names what is wrong. A fragment, a control character, a broken
 * percent code and an encoded NUL are refused. On failure *out is cleared. */
enum rc url_parse(const char *text, struct url *out, struct err *err) MUST_USE;
void url_release(struct url *url);
/* An address for people to read: without its user. Owned by the caller. */
char *url_shown(const char *text) MUST_USE;
/* The first parameter of that name, or NULL. */
const char *url_param(const struct url *url, const char *name);
/* RC_INVALID, naming it, if a parameter is not one of the NULL-terminated list. */
enum rc url_check_params(const struct url *url, const char *const *known, struct err *err) MUST_USE;

#endif
