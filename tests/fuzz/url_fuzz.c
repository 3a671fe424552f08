/* An address. */
#include "fuzz/fuzz.h"

#include <string.h>

#include "base/mem.h"
#include "base/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static const char *const none[] = { NULL };
	AUTO_FREE char *text = mem_strndup(view_of(bytes, len));
	struct err err = ERR_INIT;
	struct url url;

	if (url_parse(text, &url, &err) != RC_OK) {
		FUZZ_CHECK(err.message[0] && !url.scheme && !url.params && !url.param_count);
		return 0;
	}
	FUZZ_CHECK(url.scheme[0] && !strchr(url.scheme, ':'));
	FUZZ_CHECK(!strchr(url.host, '@') && !strchr(url.host, '/'));
	FUZZ_CHECK(url.path && url.param_count <= URL_PARAMS_MAX);
	for (size_t i = 0; i < url.param_count; i++) {
		FUZZ_CHECK(url.params[i].value);
		FUZZ_CHECK(url_param(&url, url.params[i].name));
	}
	FUZZ_CHECK((url_check_params(&url, none, NULL) == RC_OK) == (url.param_count == 0));
	url_release(&url);
	return 0;
}
