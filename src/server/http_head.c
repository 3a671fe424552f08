/*
 * What libmicrohttpd lets pass at its strictest, and no server should: heads that another reader, such as a
 * proxy before this one, may take for something else.
 *
 * The library ends names and values by NUL bytes where they lie in its buffer, one behind the other. A
 * NUL that the client sent hides what follows it: that lies then between a value and the next name.
 */
#include <string.h>
#include <strings.h>

#include "server/http_exchange.h"

enum { GAP_MAX = 32 << 10 };

struct head {
	const char *fault;
	unsigned lengths, hosts, encodings;
	const char *value_end; /* of the last header */
};

static bool is_token(const char *name)
{
	static const char other[] = "!#$%&'*+-.^_`|~";

	for (const char *at = name; *at; at++) {
		bool letter = (*at | 0x20) >= 'a' && (*at | 0x20) <= 'z';

		if (!letter && !(*at >= '0' && *at <= '9') && !strchr(other, *at))
			return false;
	}
	return name[0] != '\0';
}

/* Is there anything but white space and ends between them, where they lie in that order? */
static bool hides(const char *from, const char *to)
{
	if (!from || to < from || to - from > GAP_MAX)
		return false;
	for (; from < to; from++) {
		if (*from != '\0' && *from != '\r' && *from != '\n' && *from != ' ' &&
		    *from != '\t')
			return true;
	}
	return false;
}

/* The library ended its line and the empty one after it. Nothing else lies there, but a body where lines
 * end without CR: such a head is none of HTTP's. */
static bool hides_last(const char *value_end)
{
	return value_end && (value_end[1] != '\0' || value_end[2] != '\0' || value_end[3] != '\0');
}

static bool is_number(const char *value)
{
	return value[0] != '\0' && strspn(value, "0123456789") == strlen(value);
}

static enum MHD_Result look(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct head *head = arg;

	(void)kind;
	if (!value)
		value = "";
	if (!is_token(name))
		head->fault = "a header's name is none";
	else if (hides(head->value_end, name))
		head->fault = "a header with a NUL byte";
	else if (strcasecmp(name, "Content-Length") == 0 && !is_number(value))
		head->fault = "Content-Length is no number";
	head->lengths += strcasecmp(name, "Content-Length") == 0;
	head->hosts += strcasecmp(name, "Host") == 0;
	head->encodings += strcasecmp(name, "Transfer-Encoding") == 0;
	head->value_end = value + strlen(value);
	return head->fault ? MHD_NO : MHD_YES;
}

const char *http_head_fault(struct MHD_Connection *connection)
{
	struct head head = { 0 };

	(void)MHD_get_connection_values(connection, MHD_HEADER_KIND, look, &head);
	if (head.fault)
		return head.fault;
	if (hides_last(head.value_end))
		return "a header with a NUL byte, or lines that end without CR";
	if (head.lengths > 1)
		return "more than one Content-Length";
	if (head.encodings > 1)
		return "more than one Transfer-Encoding";
	if (head.lengths > 0 && head.encodings > 0)
		return "Content-Length beside Transfer-Encoding";
	return head.hosts > 1 ? "more than one Host" : NULL;
}

char http_bad_target;

void *http_look_at_target(void *server, const char *target, struct MHD_Connection *connection)
{
	(void)server, (void)connection;
	/* The space behind it is a NUL by now. */
	return strncmp(target + strlen(target) + 1, "HTTP/", 5) == 0 ? NULL : &http_bad_target;
}
