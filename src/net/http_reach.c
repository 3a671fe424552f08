/* Which addresses a server may lead to. */
#include <netinet/in.h>

#include "net/http_transfer.h"

struct range {
	uint32_t network;
	unsigned bits;
};

static bool is_private_v4(uint32_t address)
{
	static const struct range ranges[] = {
		{ 0x00000000, 8 },  /* this network */
		{ 0x0a000000, 8 },  /* private */
		{ 0x64400000, 10 }, /* shared, behind a carrier's NAT */
		{ 0x7f000000, 8 },  /* loopback */
		{ 0xa9fe0000, 16 }, /* link-local */
		{ 0xac100000, 12 }, /* private */
		{ 0xc0a80000, 16 }, /* private */
	};

	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		if ((address ^ ranges[i].network) >> (32 - ranges[i].bits) == 0)
			return true;
	}
	return false;
}

static bool is_private_v6(const struct in6_addr *address)
{
	const uint8_t *b = address->s6_addr;

	if (IN6_IS_ADDR_V4MAPPED(address) || IN6_IS_ADDR_V4COMPAT(address))
		return is_private_v4((uint32_t)b[12] << 24 | (uint32_t)b[13] << 16 |
				     (uint32_t)b[14] << 8 | b[15]);
	return IN6_IS_ADDR_UNSPECIFIED(address) || IN6_IS_ADDR_LOOPBACK(address) ||
	       IN6_IS_ADDR_LINKLOCAL(address) || IN6_IS_ADDR_SITELOCAL(address) ||
	       (b[0] & 0xfe) == 0xfc;
}

bool http_address_is_private(const struct sockaddr *address)
{
	if (address->sa_family == AF_INET)
		return is_private_v4(ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr));
	if (address->sa_family == AF_INET6)
		return is_private_v6(&((const struct sockaddr_in6 *)address)->sin6_addr);
	return true;
}

bool http_reach_allows(struct http_reach *reach, const struct sockaddr *address)
{
	bool is_private = http_address_is_private(address);
	int of = HTTP_REACH_UNKNOWN;

	if (atomic_compare_exchange_strong(&reach->of, &of,
					   is_private ? HTTP_REACH_PRIVATE : HTTP_REACH_PUBLIC))
		return true;
	return of == HTTP_REACH_PRIVATE || !is_private;
}
