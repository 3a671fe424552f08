/*
 * libcurl calls back with what came; here it lies in `body` until it is read, and past BODY_MANY bytes
 * the transfer is paused. All callbacks run inside of curl_multi_perform, in the reader's thread.
 */
#include "net/http_transfer.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"

enum {
	BODY_MANY = 256 << 10,
	REDIRECTS_MAX = 5,
	POLL_MS = 100, /* how often an op is asked */
};

/* ---- What comes ---- */

static size_t take_body(char *bytes, size_t one, size_t len, void *context)
{
	struct http_transfer *t = context;

	(void)one;
	if (t->body.len - t->body_at >= BODY_MANY) {
		t->paused = true;
		return CURL_WRITEFUNC_PAUSE;
	}
	if (t->body_at == t->body.len) {
		buf_clear(&t->body);
		t->body_at = 0;
	}
	buf_append(&t->body, bytes, len);
	t->waited_bytes += len;
	return len;
}

static curl_socket_t open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct http_transfer *t = context;

	(void)purpose;
	t->refused = !http_reach_allows(t->reach, &address->addr);
	return t->refused ? CURL_SOCKET_BAD
			  : socket(address->family, address->socktype | SOCK_CLOEXEC,
				   address->protocol);
}

/* The value of "name: value", without blanks around it. */
static bool header_value(struct view line, const char *name, struct view *out)
{
	size_t len = strlen(name);

	if (line.len <= len || strncasecmp((const char *)line.ptr, name, len) != 0 ||
	    line.ptr[len] != ':')
		return false;
	*out = view_slice(line, len + 1, line.len - len - 1);
	while (out->len > 0 && (out->ptr[0] == ' ' || out->ptr[0] == '\t'))
		*out = view_slice(*out, 1, out->len - 1);
	while (out->len > 0 && strchr(" \t\r\n", out->ptr[out->len - 1]))
		out->len--;
	return true;
}

/* "bytes 5-9/10": the 5. */
static bool parse_range(struct view value, uint64_t *from)
{
	static const char unit[] = "bytes ";
	size_t skip = sizeof(unit) - 1, len = 0;

	if (value.len < skip || strncasecmp((const char *)value.ptr, unit, skip) != 0)
		return false;
	value = view_slice(value, skip, value.len - skip);
	while (len < value.len && value.ptr[len] != '-')
		len++;
	return text_parse_u64(view_slice(value, 0, len), from);
}

static void take_field(struct http_transfer *t, struct view line)
{
	struct view value;

	if (header_value(line, "etag", &value) && value.len <= HTTP_ETAG_MAX) {
		if (memchr(value.ptr, '\0', value.len) == NULL)
			memcpy(t->reply.etag, value.ptr, value.len);
	} else if (header_value(line, "content-length", &value)) {
		if (!text_parse_u64(value, &t->reply.size))
			t->reply.size = HTTP_SIZE_UNKNOWN;
	} else if (header_value(line, "content-range", &value)) {
		if (!parse_range(value, &t->range_from))
			t->range_from = HTTP_SIZE_UNKNOWN;
	}
}

static size_t take_header(char *bytes, size_t one, size_t len, void *context)
{
	struct http_transfer *t = context;

	(void)one;
	t->header_bytes += len;
	t->waited_bytes += len;
	if (t->header_bytes > HTTP_HEADERS_MAX) {
		t->headers_too_large = true;
		return 0;
	}
	if (len >= 5 && memcmp(bytes, "HTTP/", 5) == 0) { /* of a first or a further reply */
		t->reply = (struct http_reply){ .size = HTTP_SIZE_UNKNOWN };
		t->range_from = HTTP_SIZE_UNKNOWN;
	} else if (len <= 2 && (bytes[0] == '\r' || bytes[0] == '\n')) {
		curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &t->status);
		/* An interim reply, or a redirect that will be followed, is not yet it. */
		t->have_headers = t->status >= 200 && (t->status < 300 || t->status >= 400);
	} else {
		take_field(t, view_of(bytes, len));
	}
	return len;
}

/* ---- Setting up ---- */

struct http_transfer *http_transfer_new(const struct http_options *options,
					struct http_reach *reach)
{
	struct http_transfer *t = mem_zalloc(sizeof(*t));

	t->options = options;
	t->reach = reach;
	t->multi = curl_multi_init();
	t->easy = curl_easy_init();
	if (t->multi && t->easy)
		return t;
	http_transfer_free(t);
	return NULL;
}

void http_transfer_free(struct http_transfer *t)
{
	if (!t)
		return;
	http_transfer_stop(t);
	if (t->easy)
		curl_easy_cleanup(t->easy);
	if (t->multi)
		curl_multi_cleanup(t->multi);
	buf_release(&t->body);
	free(t);
}

void http_transfer_stop(struct http_transfer *t)
{
	if (t->running)
		curl_multi_remove_handle(t->multi, t->easy);
	t->running = false;
	curl_slist_free_all(t->headers);
	t->headers = NULL;
	if (t->body.cap > 2 * BODY_MANY)
		buf_release(&t->body);
	buf_clear(&t->body);
	t->body_at = 0;
}

static void add_header(struct http_transfer *t, const char *format, ...) PRINTF_LIKE(2, 3);

static void add_header(struct http_transfer *t, const char *format, ...)
{
	char line[HTTP_ETAG_MAX + 64];
	struct curl_slist *longer;
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	longer = curl_slist_append(t->headers, line);
	if (longer)
		t->headers = longer;
}

static void set_headers(struct http_transfer *t, const struct http_question *question)
{
	const char *etag = question->etag;

	if (question->from == 0)
		return;
	add_header(t, "Range: bytes=%llu-", (unsigned long long)question->from);
	/* A weak one says nothing of bytes. */
	if (etag && etag[0] && strncmp(etag, "W/", 2) != 0)
		add_header(t, "If-Range: %s", etag);
	curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers);
}

/* Who we are is told to the cache itself alone. libcurl tells it to no other host by a redirect. */
static void set_credentials(struct http_transfer *t, const struct http_question *question)
{
	const struct http_options *options = t->options;
	size_t len = options->origin ? strlen(options->origin) : 0;

	if (len == 0 || strncmp(question->url, options->origin, len) != 0 ||
	    (question->url[len] != '\0' && question->url[len] != '/'))
		return;
	if (options->user)
		curl_easy_setopt(t->easy, CURLOPT_USERPWD, options->user);
	if (options->bearer) {
		curl_easy_setopt(t->easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
		curl_easy_setopt(t->easy, CURLOPT_XOAUTH2_BEARER, options->bearer);
	}
	if (options->netrc) {
		curl_easy_setopt(t->easy, CURLOPT_NETRC, (long)CURL_NETRC_OPTIONAL);
		curl_easy_setopt(t->easy, CURLOPT_NETRC_FILE, options->netrc);
	}
}

static void set_up(struct http_transfer *t, const struct http_question *question)
{
	CURL *easy = t->easy;

	curl_easy_reset(easy);
	t->https = strncasecmp(question->url, "https:", 6) == 0;
	curl_easy_setopt(easy, CURLOPT_URL, question->url);
	curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, t->curl_error);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "castor");
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, t->https ? "https" : "http,https");
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
	curl_easy_setopt(easy, CURLOPT_MAXREDIRS, (long)REDIRECTS_MAX);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
			 (long)(t->options->connect_ns / NS_PER_MS));
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 128L << 10);
	if (t->options->ca_file)
		curl_easy_setopt(easy, CURLOPT_CAINFO, t->options->ca_file);
	if (question->head)
		curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
	if (question->decode)
		curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, t);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, t);
	set_credentials(t, question);
	set_headers(t, question);
}

/* ---- Outcomes ---- */

static bool worth_another(CURLcode code)
{
	switch (code) {
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_CONNECT:
	case CURLE_PARTIAL_FILE:
	case CURLE_OPERATION_TIMEDOUT:
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_GOT_NOTHING:
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
		return true;
	default:
		return false;
	}
}

/* Whom we ask is not whom we trust, or what says whom we trust cannot be used. */
static bool is_of_certificates(CURLcode code)
{
	switch (code) {
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_ISSUER_ERROR:
		return true;
	default:
		return false;
	}
}

static enum rc failed(struct http_transfer *t, bool *again, struct err *err)
{
	if (t->headers_too_large)
		return err_set(err, RC_TOO_LARGE, "the reply has more than %d bytes of headers",
			       HTTP_HEADERS_MAX);
	if (t->refused)
		return err_set(err, RC_NOT_PERMITTED,
			       "it leads from a public server to a private address");
	*again = worth_another(t->result);
	if (t->result == CURLE_OUT_OF_MEMORY)
		return err_set(err, RC_NO_MEMORY, "no memory for an HTTP request");
	return err_set(err, is_of_certificates(t->result) ? RC_CERTIFICATE : RC_UNAVAILABLE, "%s",
		       t->curl_error[0] ? t->curl_error : curl_easy_strerror(t->result));
}

static enum rc stalled(struct http_transfer *t, bool *again, struct err *err)
{
	char time[TEXT_DURATION_MAX];

	*again = t->have_headers;
	text_duration(t->options->stall_ns, time);
	if (!t->have_headers)
		return err_set(err, RC_UNAVAILABLE, "no reply after %s", time);
	return err_set(err, RC_UNAVAILABLE, "only %llu bytes in %s",
		       (unsigned long long)t->waited_bytes, time);
}

/* ---- Running ---- */

static void look_for_end(struct http_transfer *t)
{
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(t->multi, &left))) {
		if (message->msg != CURLMSG_DONE)
			continue;
		t->done = true;
		t->result = message->data.result;
	}
}

/* One round: what can be done now is done, then it is waited for more. */
static enum rc run(struct http_transfer *t, const struct op *op, bool *again, struct err *err)
{
	int64_t before = clock_monotonic_ns();
	uint64_t had = t->waited_bytes;
	int running;
	enum rc rc = op_check(op, err);

	if (rc != RC_OK)
		return rc;
	if (curl_multi_perform(t->multi, &running) != CURLM_OK)
		return err_set(err, RC_NO_MEMORY, "libcurl cannot go on");
	look_for_end(t);
	if (t->done || t->waited_bytes != had)
		return RC_OK;
	if (curl_multi_poll(t->multi, NULL, 0, POLL_MS, NULL) != CURLM_OK)
		return err_set(err, RC_NO_MEMORY, "libcurl cannot wait");
	t->waited_ns += clock_monotonic_ns() - before;
	if (t->waited_ns < t->options->stall_ns)
		return RC_OK;
	if (!t->have_headers || t->waited_bytes < HTTP_STALL_LEAST)
		return stalled(t, again, err);
	t->waited_ns = 0;
	t->waited_bytes = 0;
	return RC_OK;
}

enum rc http_transfer_start(struct http_transfer *t, const struct op *op,
			    const struct http_question *question, bool *again, struct err *err)
{
	enum rc rc = RC_OK;

	http_transfer_stop(t);
	t->curl_error[0] = '\0';
	t->status = 0;
	t->have_headers = t->headers_too_large = t->paused = t->done = t->refused = false;
	t->header_bytes = 0;
	t->waited_ns = 0;
	t->waited_bytes = 0;
	t->result = CURLE_OK;
	*again = false;
	set_up(t, question);
	if (curl_multi_add_handle(t->multi, t->easy) != CURLM_OK)
		return err_set(err, RC_NO_MEMORY, "no memory for an HTTP request");
	t->running = true;
	while (rc == RC_OK && !t->have_headers && !t->done)
		rc = run(t, op, again, err);
	/* What came before a failure is read first. */
	if (rc == RC_OK && !t->have_headers && t->result != CURLE_OK)
		rc = failed(t, again, err);
	if (rc == RC_OK && !t->have_headers) /* a redirect without a Location, say */
		curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &t->status);
	return rc;
}

enum rc http_transfer_read(struct http_transfer *t, const struct op *op, void *out, size_t len,
			   size_t *got, bool *again, struct err *err)
{
	enum rc rc = RC_OK;

	*got = 0;
	*again = false;
	while (t->body_at == t->body.len && !t->done) {
		if (t->paused) {
			t->paused = false;
			curl_easy_pause(t->easy, CURLPAUSE_CONT);
			look_for_end(t);
			continue;
		}
		rc = run(t, op, again, err);
		if (rc != RC_OK)
			return rc;
	}
	*got = t->body.len - t->body_at;
	if (*got == 0)
		return t->result == CURLE_OK ? RC_OK : failed(t, again, err);
	if (*got > len)
		*got = len;
	memcpy(out, t->body.ptr + t->body_at, *got);
	t->body_at += *got;
	return RC_OK;
}
