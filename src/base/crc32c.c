/*
 * CRC-32C in three ways: the instruction of SSE4.2, that of ARMv8, and eight tables ("slicing by
 * eight"). The first call chooses; all give the same.
 */
#include "base/crc32c.h"

#include <pthread.h>
#include <string.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <sys/auxv.h>
#endif

enum { POLYNOMIAL = (int)0x82f63b78 }; /* bits reversed */

typedef uint32_t update_fn(uint32_t crc, const uint8_t *bytes, size_t len);

static uint32_t tables[8][256];
static update_fn *chosen;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fill_tables(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t crc = i;

		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? (uint32_t)POLYNOMIAL : 0);
		tables[0][i] = crc;
	}
	for (size_t t = 1; t < 8; t++)
		for (size_t i = 0; i < 256; i++)
			tables[t][i] = tables[t - 1][i] >> 8 ^ tables[0][tables[t - 1][i] & 0xff];
}

static uint32_t update_tables(uint32_t crc, const uint8_t *bytes, size_t len)
{
	for (; len >= 8; len -= 8, bytes += 8) {
		uint32_t low = crc ^ ((uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 |
				      (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24);

		crc = tables[7][low & 0xff] ^ tables[6][low >> 8 & 0xff] ^
		      tables[5][low >> 16 & 0xff] ^ tables[4][low >> 24] ^ tables[3][bytes[4]] ^
		      tables[2][bytes[5]] ^ tables[1][bytes[6]] ^ tables[0][bytes[7]];
	}
	for (; len; len--, bytes++)
		crc = crc >> 8 ^ tables[0][(crc ^ *bytes) & 0xff];
	return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t update_sse42(uint32_t crc, const uint8_t *bytes,
							       size_t len)
{
	uint64_t wide = crc;

	for (; len >= 8; len -= 8, bytes += 8) {
		uint64_t word;

		memcpy(&word, bytes, sizeof(word));
		wide = _mm_crc32_u64(wide, word);
	}
	crc = (uint32_t)wide;
	for (; len; len--, bytes++)
		crc = _mm_crc32_u8(crc, *bytes);
	return crc;
}
#elif defined(__aarch64__)
__attribute__((target("+crc"))) static uint32_t update_arm(uint32_t crc, const uint8_t *bytes,
							   size_t len)
{
	for (; len >= 8; len -= 8, bytes += 8) {
		uint64_t word;

		memcpy(&word, bytes, sizeof(word));
		crc = __crc32cd(crc, word);
	}
	for (; len; len--, bytes++)
		crc = __crc32cb(crc, *bytes);
	return crc;
}
#endif

static void choose(void)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("sse4.2")) {
		chosen = update_sse42;
		return;
	}
#elif defined(__aarch64__)
	if (getauxval(AT_HWCAP) & HWCAP_CRC32) {
		chosen = update_arm;
		return;
	}
#endif
	fill_tables();
	chosen = update_tables;
}

uint32_t crc32c(uint32_t crc, const void *bytes, size_t len)
{
	pthread_once(&once, choose);
	return ~chosen(~crc, bytes, len);
}
