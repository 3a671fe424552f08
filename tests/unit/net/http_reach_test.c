/* Where a server may lead to. */
#include "net/http_transfer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "../testing.h"

static struct sockaddr_storage address(const char *text)
{
	struct sockaddr_storage storage = { 0 };
	struct sockaddr_in *v4 = (struct sockaddr_in *)&storage;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&storage;

	storage.ss_family = AF_INET;
	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1)
		return storage;
	storage.ss_family = AF_INET6;
	assert_int_equal(inet_pton(AF_INET6, text, &v6->sin6_addr), 1);
	return storage;
}

static bool is_private(const char *text)
{
	struct sockaddr_storage storage = address(text);

	return http_address_is_private((struct sockaddr *)&storage);
}

static void kinds_of_addresses(void **state)
{
	static const char *const private_ones[] = {
		"0.0.0.0",
		"10.0.0.0",
		"10.255.255.255",
		"100.64.0.0",
		"100.127.255.255",
		"127.0.0.1",
		"127.255.255.255",
		"169.254.169.254",
		"172.16.0.0",
		"172.31.255.255",
		"192.168.0.0",
		"192.168.255.255",
		"::",
		"::1",
		"fe80::1",
		"febf::1",
		"fc00::1",
		"fdff::1",
		"::ffff:10.1.2.3",
		"fec0::1",
	};
	static const char *const public_ones[] = {
		"1.1.1.1",    "9.255.255.255", "11.0.0.0",       "100.63.255.255", "100.128.0.0",
		"126.0.0.1",  "128.0.0.1",     "169.253.0.1",    "169.255.0.1",    "172.15.255.255",
		"172.32.0.0", "192.167.0.1",   "192.169.0.1",    "2001:db8::1",    "fbff::1",
		"fe00::1",    "ff02::1",       "::ffff:9.9.9.9",
	};
	struct sockaddr_un local = { .sun_family = AF_UNIX };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(private_ones); i++) {
		print_message("%s\n", private_ones[i]);
		assert_true(is_private(private_ones[i]));
	}
	for (size_t i = 0; i < ARRAY_LEN(public_ones); i++) {
		print_message("%s\n", public_ones[i]);
		assert_false(is_private(public_ones[i]));
	}
	assert_true(http_address_is_private((struct sockaddr *)&local));
}

static bool allows(struct http_reach *reach, const char *text)
{
	struct sockaddr_storage storage = address(text);

	return http_reach_allows(reach, (struct sockaddr *)&storage);
}

static void a_public_server_leads_to_no_private_one(void **state)
{
	struct http_reach public_one = { 0 }, private_one = { 0 };

	(void)state;
	assert_true(allows(&public_one, "1.2.3.4"));
	assert_true(allows(&public_one, "4.3.2.1"));
	assert_false(allows(&public_one, "127.0.0.1"));
	assert_false(allows(&public_one, "169.254.169.254"));
	assert_true(allows(&private_one, "10.0.0.1"));
	assert_true(allows(&private_one, "127.0.0.1"));
	assert_true(allows(&private_one, "1.2.3.4"));
	assert_true(allows(&private_one, "192.168.1.1"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kinds_of_addresses),
		cmocka_unit_test(a_public_server_leads_to_no_private_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
