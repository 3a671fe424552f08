/* Addresses of stores. */
#include "base/url.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"

enum { SHOWN = 128 }; /* of a bad address, in an error */

void url_release(struct url *url)
{
	free(url->scheme);
	free(url->user);
	free(url->host);
	free(url->path);
	for (size_t i = 0; i < url->param_count; i++) {
		free(url->params[i].name);
		free(url->params[i].value);
	}
	free(url->params);
	*url = (struct url){ .scheme = NULL };
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* What no part of an address may hold. */
static enum rc check_characters(const char *text, struct err *err)
{
	if (strnlen(text, URL_MAX + 1) > URL_MAX)
		return err_set(err, RC_INVALID, "an address is longer than %d bytes", URL_MAX);
	for (const char *c = text; *c; c++) {
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			return err_set(err, RC_INVALID,
				       "an address holds the control character 0x%02x at byte %zu",
				       (unsigned)*c, (size_t)(c - text));
		if (*c == '#')
			return err_set(err, RC_INVALID,
				       "an address has a fragment (write %%23 for '#')");
	}
	return RC_OK;
}

/* *out gets the decoded text. form: a '+' is a space, as in the query of a form. */
static enum rc decode(struct view text, bool form, char **out, struct err *err)
{
	AUTO_FREE char *decoded = mem_alloc(text.len + 1);
	char *end = decoded;

	for (size_t i = 0; i < text.len; i++) {
		char c = (char)text.ptr[i];

		if (c == '%') {
			if (text.len - i < 3 || !hex_decode(view_slice(text, i + 1, 2), &c, 1))
				return err_set(err, RC_INVALID,
					       "'%.*s' has a '%%' without two hexadecimal digits",
					       (int)(text.len < SHOWN ? text.len : SHOWN),
					       (const char *)text.ptr);
			if (c == '\0')
				return err_set(err, RC_INVALID, "an address holds %%00");
			i += 2;
		} else if (c == '+' && form) {
			c = ' ';
		}
		*end++ = c;
	}
	*end = '\0';
	*out = decoded;
	decoded = NULL;
	return RC_OK;
}

static enum rc parse_scheme(const char *text, const char **rest, struct url *out, struct err *err)
{
	size_t len = 0;

	while (is_letter(text[len]) ||
	       (len && (is_digit(text[len]) || (text[len] && strchr("+-.", text[len])))))
		len++;
	if (len == 0 || text[len] != ':')
		return err_set(err, RC_INVALID,
			       "'%.*s' is not an address: it starts with no scheme, such as "
			       "local:///path",
			       SHOWN, text);
	out->scheme = mem_strndup(view_of(text, len));
	for (char *c = out->scheme; *c; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c + ('a' - 'A'));
	*rest = text + len + 1;
	return RC_OK;
}

static enum rc parse_host(const char **rest, struct url *out, struct err *err)
{
	const char *at;
	size_t len;

	if (strncmp(*rest, "//", 2) != 0) {
		out->host = mem_strdup("");
		return RC_OK;
	}
	*rest += 2;
	len = strcspn(*rest, "/?");
	at = memchr(*rest, '@', len);
	if (at) {
		enum rc rc = decode(view_of(*rest, (size_t)(at - *rest)), false, &out->user, err);

		if (rc != RC_OK)
			return err_set(err, rc, "the user of an address is malformed");
		len -= (size_t)(at + 1 - *rest);
		*rest = at + 1;
	}
	for (size_t i = 0; i < len; i++) {
		char c = (*rest)[i];

		if (!is_letter(c) && !is_digit(c) && !strchr("-._~:[]", c))
			return err_set(err, RC_INVALID, "the host '%.*s' holds a '%c'",
				       (int)(len < SHOWN ? len : SHOWN), *rest, c);
	}
	out->host = mem_strndup(view_of(*rest, len));
	*rest += len;
	return RC_OK;
}

static enum rc parse_param(struct view text, struct url *out, struct err *err)
{
	const uint8_t *equals = memchr(text.ptr, '=', text.len);
	size_t name_len = equals ? (size_t)(equals - text.ptr) : text.len;
	size_t value_at = equals ? name_len + 1 : text.len;
	struct url_param *param;
	enum rc rc;

	if (name_len == 0)
		return err_set(err, RC_INVALID, "an address has a parameter without a name");
	if (out->param_count == URL_PARAMS_MAX)
		return err_set(err, RC_INVALID, "an address has more than %d parameters",
			       URL_PARAMS_MAX);
	out->params = mem_realloc_array(out->params, out->param_count + 1, sizeof(*out->params));
	param = &out->params[out->param_count++];
	*param = (struct url_param){ .name = NULL };
	rc = decode(view_slice(text, 0, name_len), true, &param->name, err);
	if (rc != RC_OK)
		return rc;
	return decode(view_slice(text, value_at, text.len - value_at), true, &param->value, err);
}

static enum rc parse_params(const char *text, struct url *out, struct err *err)
{
	while (*text) {
		size_t len = strcspn(text, "&");

		/* "?a=1&" and "?a&&b" hold no more than they say. */
		if (len) {
			enum rc rc = parse_param(view_of(text, len), out, err);

			if (rc != RC_OK)
				return rc;
		}
		text += len;
		text += *text == '&';
	}
	return RC_OK;
}

static enum rc parse(const char *text, struct url *out, struct err *err)
{
	const char *rest = NULL;
	size_t path_len;
	enum rc rc;

	rc = check_characters(text, err);
	if (rc != RC_OK)
		return rc;
	rc = parse_scheme(text, &rest, out, err);
	if (rc != RC_OK)
		return rc;
	rc = parse_host(&rest, out, err);
	if (rc != RC_OK)
		return rc;
	path_len = strcspn(rest, "?");
	rc = decode(view_of(rest, path_len), false, &out->path, err);
	if (rc != RC_OK)
		return rc;
	rest += path_len;
	return *rest ? parse_params(rest + 1, out, err) : RC_OK;
}

enum rc url_parse(const char *text, struct url *out, struct err *err)
{
	enum rc rc;

	*out = (struct url){ .scheme = NULL };
	rc = parse(text, out, err);
	if (rc != RC_OK)
		url_release(out);
	return rc;
}

const char *url_param(const struct url *url, const char *name)
{
	for (size_t i = 0; i < url->param_count; i++)
		if (strcmp(url->params[i].name, name) == 0)
			return url->params[i].value;
	return NULL;
}

enum rc url_check_params(const struct url *url, const char *const *known, struct err *err)
{
	for (size_t i = 0; i < url->param_count; i++) {
		const char *name = url->params[i].name;
		size_t k = 0;

		while (known[k] && strcmp(known[k], name) != 0)
			k++;
		if (!known[k])
			return err_set(err, RC_INVALID,
				       "an address with scheme '%s' has no parameter '%.64s'",
				       url->scheme, name);
	}
	return RC_OK;
}

char *url_shown(const char *text)
{
	const char *host = strstr(text, "//"), *at;

	if (!host)
		return mem_strdup(text);
	host += 2;
	at = memchr(host, '@', strcspn(host, "/?"));
	return at ? mem_printf("%.*s%s", (int)(host - text), text, at + 1) : mem_strdup(text);
}
