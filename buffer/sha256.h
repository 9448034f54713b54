/* SHA-256 (FIPS 180-4), for the key check value only: libdb has no public digest, and buffer/ does not link OpenSSL. */
#ifndef BUFFER_SHA256_H
#define BUFFER_SHA256_H

#include <stddef.h>
#include <stdint.h>

void sha256(const void *data, size_t len, uint8_t out[32]);

#endif
