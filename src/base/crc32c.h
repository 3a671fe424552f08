/* CRC-32C (Castagnoli), as in RFC 3720; uses the processor's instruction where there is one. */
#ifndef CASTOR_BASE_CRC32C_H
#define CASTOR_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Continues from `crc`, which is 0 at the start. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t len);

#endif
