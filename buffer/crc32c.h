/* CRC-32C (Castagnoli, as in RFC 3720), the checksum of every record in the store. */
#ifndef BUFFER_CRC32C_H
#define BUFFER_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of some bytes followed by data, given that of the bytes before; 0 to begin with.
 * crc32c(0, "123456789", 9) is 0xe3069283. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);

/* The same by tables only, whatever the processor has: for tests. */
uint32_t crc32c_tables(uint32_t crc, const void *data, size_t len);

#endif
