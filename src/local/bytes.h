/* Little-endian numbers into fixed places. Reading goes through struct cursor. */
#ifndef CASTOR_LOCAL_BYTES_H
#define CASTOR_LOCAL_BYTES_H

#include <stdint.h>

static inline void put_u16(uint8_t *out, uint16_t value)
{
	out[0] = (uint8_t)value;
	out[1] = (uint8_t)(value >> 8);
}

static inline void put_u32(uint8_t *out, uint32_t value)
{
	put_u16(out, (uint16_t)value);
	put_u16(out + 2, (uint16_t)(value >> 16));
}

static inline void put_u48(uint8_t *out, uint64_t value)
{
	put_u32(out, (uint32_t)value);
	put_u16(out + 4, (uint16_t)(value >> 32));
}

static inline void put_u64(uint8_t *out, uint64_t value)
{
	put_u32(out, (uint32_t)value);
	put_u32(out + 4, (uint32_t)(value >> 32));
}

#endif
