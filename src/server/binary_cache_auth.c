/* Who may upload to a binary cache. */
#include <string.h>

#include <openssl/crypto.h>

#include "base/text.h"
#include "server/binary_cache_private.h"

bool cache_has_token(struct binary_cache *cache)
{
	pthread_mutex_lock(&cache->token_lock);
	bool has = cache->has_token;
	pthread_mutex_unlock(&cache->token_lock);
	return has;
}

/* Takes as long for a token that is nearly right as for any other. */
static bool is_token(struct binary_cache *cache, struct view given)
{
	struct digest a = digest_of(given), b;

	pthread_mutex_lock(&cache->token_lock);
	b = cache->token;
	pthread_mutex_unlock(&cache->token_lock);
	return CRYPTO_memcmp(a.bytes, b.bytes, DIGEST_SIZE) == 0;
}

void binary_cache_set_token(struct binary_cache *cache, const char *token)
{
	struct digest digest = digest_of(view_of_string(token));

	pthread_mutex_lock(&cache->token_lock);
	cache->token = digest;
	cache->has_token = true;
	pthread_mutex_unlock(&cache->token_lock);
}

/* The password of basic authentication, whoever the user is: what nix sends for http://:TOKEN@host, and
 * what netrc says. */
static bool is_basic(struct binary_cache *cache, const char *credentials)
{
	struct buf text CLEANUP(buf_release) = BUF_INIT;
	const uint8_t *colon;

	if (!base64_decode(BASE64_STANDARD, view_of_string(credentials), &text) || text.len == 0)
		return false;
	colon = memchr(text.ptr, ':', text.len);
	return colon &&
	       is_token(cache, view_of(colon + 1, text.len - (size_t)(colon + 1 - text.ptr)));
}

bool cache_may_upload(struct binary_cache *cache, const struct http_exchange *exchange)
{
	const char *header;

	if (!cache_has_token(cache))
		return true;
	header = http_header(exchange, "Authorization");
	if (!header)
		return false;
	if (strncasecmp(header, "Bearer ", 7) == 0)
		return is_token(cache, view_of_string(header + 7));
	return strncasecmp(header, "Basic ", 6) == 0 && is_basic(cache, header + 6);
}

enum http_next cache_refuse_upload(struct http_exchange *exchange)
{
	static const char text[] = "uploads need this cache's token\n";
	struct MHD_Response *response = MHD_create_response_from_buffer(
		sizeof(text) - 1, (char *)(uintptr_t)text, MHD_RESPMEM_PERSISTENT);

	if (response) {
		(void)MHD_add_response_header(response, "WWW-Authenticate",
					      "Basic realm=\"castor\"");
		(void)MHD_add_response_header(response, "Connection", "close");
		http_reply(exchange, 401, response);
	}
	return HTTP_REPLIED;
}
