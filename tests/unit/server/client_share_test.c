/* Whose an address is, and that nobody gets more than a share. */
#include "server/client_share.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

#include "../testing.h"

static struct client_key key(const char *text)
{
	struct client_key key;

	assert_true(client_key_parse(view_of_string(text), &key));
	return key;
}

static bool same(const char *a, const char *b)
{
	struct client_key x = key(a), y = key(b);

	return memcmp(&x, &y, sizeof(x)) == 0;
}

static void keys(void **state)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
	struct sockaddr_un local = { .sun_family = AF_UNIX };
	struct client_key got, want;

	(void)state;
	assert_true(same("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"));
	assert_false(same("2001:db8:1:2::1", "2001:db8:1:3::1"));
	assert_false(same("192.0.2.1", "192.0.2.2"));
	assert_true(same("192.0.2.1", "::ffff:192.0.2.1"));
	assert_false(same("::ffff:192.0.2.1", "::ffff:192.0.2.2"));
	for (const char **bad =
		     (const char *[]){ "", "host", "1.2.3.4:80", "[::1]", "1.2.3", NULL };
	     *bad; bad++)
		assert_false(client_key_parse(view_of_string(*bad), &got));

	assert_int_equal(inet_pton(AF_INET, "192.0.2.7", &v4.sin_addr), 1);
	client_key_of((struct sockaddr *)&v4, &got);
	want = key("192.0.2.7");
	assert_memory_equal(&got, &want, sizeof(got));
	assert_int_equal(inet_pton(AF_INET6, "::1", &v6.sin6_addr), 1);
	client_key_of((struct sockaddr *)&v6, &got);
	assert_false(client_key_is_local(&got));
	client_key_of((struct sockaddr *)&local, &got);
	assert_true(client_key_is_local(&got));
}

static void shares(void **state)
{
	struct client_shares *shares = client_shares_new(5, 2);
	struct client_key a = key("192.0.2.1"), b = key("192.0.2.2"), c = key("2001:db8::1");
	struct client_key local = { { 0 } };

	(void)state;
	assert_int_equal(client_shares_take(shares, &a), CLIENT_SHARE_TAKEN);
	assert_int_equal(client_shares_take(shares, &a), CLIENT_SHARE_TAKEN);
	assert_int_equal(client_shares_take(shares, &a), CLIENT_SHARE_OWN_USED);
	assert_int_equal(client_shares_take(shares, &b), CLIENT_SHARE_TAKEN);
	assert_int_equal(client_shares_take(shares, &local), CLIENT_SHARE_TAKEN);
	assert_int_equal(client_shares_take(shares, &local), CLIENT_SHARE_TAKEN);
	assert_int_equal(client_shares_take(shares, &c), CLIENT_SHARE_ALL_USED);
	assert_int_equal(client_shares_take(shares, &local), CLIENT_SHARE_ALL_USED);
	assert_int_equal(client_shares_held(shares), 5);
	client_shares_give(shares, &a);
	assert_int_equal(client_shares_take(shares, &c), CLIENT_SHARE_TAKEN);
	client_shares_give(shares, &local);
	assert_int_equal(client_shares_take(shares, &a), CLIENT_SHARE_TAKEN);
	client_shares_give(shares, &local);
	assert_int_equal(client_shares_take(shares, &a), CLIENT_SHARE_OWN_USED);
	assert_int_equal(client_shares_take(shares, &local), CLIENT_SHARE_TAKEN);
	assert_int_equal(client_shares_take(shares, &local), CLIENT_SHARE_ALL_USED);
	client_shares_free(shares);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys),
		cmocka_unit_test(shares),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
