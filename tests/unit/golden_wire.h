/* The messages that other programs sent, as tests/golden/README.md lists them under "Wire bytes". */
#ifndef CASTOR_TESTS_GOLDEN_WIRE_H
#define CASTOR_TESTS_GOLDEN_WIRE_H

#include "testing.h"

/* The whole README, NUL-terminated; the caller frees. */
static inline char *golden_readme(void)
{
	char *path AUTO_FREE = mem_printf("%s/README.md", getenv("CASTOR_GOLDEN"));
	FILE *file = fopen(path, "r");
	char *text = mem_zalloc(1 << 16);

	assert_non_null(file);
	assert_true(fread(text, 1, (1 << 16) - 1, file) > 0);
	fclose(file);
	return text;
}

/* Message i of the block under **name**, appended. The request is the first `…` after the name (i -1). */
static inline void golden_wire(const char *name, int i, struct buf *out)
{
	char *text AUTO_FREE = golden_readme();
	char *heading AUTO_FREE = mem_printf("**%s**", name);
	const char *at = strstr(text, heading);
	size_t len;

	assert_non_null(at);
	at = strchr(at, i < 0 ? '`' : '\n');
	if (i < 0)
		at++;
	else
		at = strchr(at + 1, '\n') + 1; /* past ``` */
	for (; i > 0; i--)
		at = strchr(at, '\n') + 1;
	len = strcspn(at, "`\n");
	if (len > 0 && at[0] == '(')
		return; /* "(empty)" */
	buf_reserve(out, len / 2);
	assert_true(hex_decode(view_of(at, len), out->ptr + out->len, len / 2));
	out->len += len / 2;
}

#endif
