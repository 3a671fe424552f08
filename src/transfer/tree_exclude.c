#include "transfer/tree_exclude.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct pattern {
	char *text;   /* with a NUL for each slash */
	char **parts; /* in it */
	size_t count;
	bool directory; /* directories alone */
};

struct tree_exclude {
	size_t count;
	struct pattern patterns[];
};

static const char any_depth[] = "**";

static enum rc parse(const char *text, struct pattern *out, struct err *err)
{
	size_t len = strlen(text);
	bool anchored = false;

	if (*text == '!')
		return err_set(err, RC_INVALID,
			       "the pattern '%s' begins with '!', and nothing can be taken back in",
			       text);
	while (len > 0 && text[len - 1] == '/') {
		out->directory = true;
		len--;
	}
	for (; len > 0 && *text == '/'; text++, len--)
		anchored = true;
	if (len == 0)
		return err_set(err, RC_INVALID, "a pattern of nothing");
	out->text = mem_strndup((struct view){ (const uint8_t *)text, len });
	out->parts = mem_array(len + 1, sizeof(*out->parts));
	if (!anchored && !memchr(text, '/', len))
		out->parts[out->count++] = (char *)(uintptr_t)any_depth;
	for (char *rest = out->text, *part; (part = strsep(&rest, "/"));) {
		if (*part)
			out->parts[out->count++] = part;
	}
	return RC_OK;
}

enum rc tree_exclude_new(const char *const *patterns, size_t count, struct tree_exclude **out,
			 struct err *err)
{
	struct tree_exclude *exclude =
		mem_zalloc(sizeof(*exclude) + count * sizeof(*exclude->patterns));
	enum rc rc = RC_OK;

	*out = NULL;
	exclude->count = count;
	for (size_t i = 0; rc == RC_OK && i < count; i++)
		rc = parse(patterns[i], &exclude->patterns[i], err);
	if (rc == RC_OK)
		*out = exclude;
	else
		tree_exclude_free(exclude);
	return rc;
}

void tree_exclude_free(struct tree_exclude *exclude)
{
	if (!exclude)
		return;
	for (size_t i = 0; i < exclude->count; i++) {
		free(exclude->patterns[i].text);
		free(exclude->patterns[i].parts);
	}
	free(exclude);
}

/* Only the last "**" before a part that does not fit has to be tried again, with one name more. */
static bool fits(const struct pattern *pattern, const char *const *names, size_t count)
{
	size_t part = 0, name = 0, star = SIZE_MAX, resume = 0;

	while (name < count) {
		if (part < pattern->count && strcmp(pattern->parts[part], any_depth) == 0) {
			star = ++part;
			resume = name;
		} else if (part < pattern->count &&
			   fnmatch(pattern->parts[part], names[name], 0) == 0) {
			part++;
			name++;
		} else if (star != SIZE_MAX) {
			part = star;
			name = ++resume;
		} else {
			return false;
		}
	}
	return part == pattern->count;
}

bool tree_exclude_matches(const struct tree_exclude *exclude, const char *const *names,
			  size_t count, bool directory)
{
	for (size_t i = 0; i < exclude->count; i++) {
		const struct pattern *pattern = &exclude->patterns[i];

		if ((directory || !pattern->directory) && fits(pattern, names, count))
			return true;
	}
	return false;
}
