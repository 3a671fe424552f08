/* The URL of a narinfo: what is resolved is one of http without tricks, and a node that it names is a node. */
#include "fuzz/fuzz.h"

#include <string.h>

#include "base/mem.h"
#include "store/nix_fetch.h"

static const char base[] = "http://host/sub";

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	CLEANUP(buf_release) struct buf url = BUF_INIT;
	CLEANUP(buf_release) struct buf encoded = BUF_INIT;
	AUTO_FREE char *text = mem_strndup(view_of(bytes, len));
	struct node node, again;
	struct err err = ERR_INIT;

	if (nix_url_resolve(base, text, &url, &err) == RC_OK) {
		char *whole = (char *)(uintptr_t)buf_string(&url);

		FUZZ_CHECK(strncmp(whole, "http://", 7) == 0 || strncmp(whole, "https://", 8) == 0);
		FUZZ_CHECK(!strchr(whole, '\\') && !strchr(whole, '#'));
		/* Of another host only if it was named. */
		FUZZ_CHECK(strncmp(whole, "http://host/", 12) == 0 ||
			   strncmp(text, "http", 4) == 0);
		whole[strcspn(whole, "?")] = '\0'; /* a query climbs nowhere */
		FUZZ_CHECK(!strstr(whole, "/../"));
	} else {
		FUZZ_CHECK(url.len == 0 && err.message[0]);
	}
	if (nix_url_node(text, &node)) {
		node_encode(&node, false, &encoded);
		FUZZ_CHECK(node_decode(buf_view(&encoded), &again, &err) == RC_OK);
		FUZZ_CHECK(node_equal(&node, &again) && node.name.len == 0);
	}
	node_release(&node);
	return 0;
}
