/* What the tests and benchmarks of the store share: a store in a directory, files and records made from numbers.
 *
 * The payload of a record is a function of its file and version (kit_fill), so whoever reads one back can tell whether it is the
 * right one without keeping a copy. */
#ifndef TESTS_STOREKIT_H
#define TESTS_STOREKIT_H

#include <stdio.h>
#include <string.h>

#include "buffer/store.h"

#define KIT_DATA_MAX 65536

static inline struct store_options
kit_options(const char *dir)
{
	return (struct store_options){ .dir = dir, .cache_bytes = 1u << 20, .log_file_bytes = 1u << 20, .checkpoint_bytes = 1u << 20 };
}

/* Opens the store in dir, or says why not and returns NULL. */
static inline struct store *
kit_open(const char *dir)
{
	struct store_options opt = kit_options(dir);
	struct store *s = NULL;
	char why[512];

	if (store_open(&opt, &s, why, sizeof(why)) != STORE_OK)
		printf("# store_open: %s\n", why);
	return s;
}

/* Bytes of the record (n, version): 0 to 1999, most of them some hundred. */
static inline uint32_t
kit_len(uint64_t n, uint64_t version)
{
	return (uint32_t)((n * 7919 + version * version * 31) % 2000);
}

static inline void
kit_fill(uint8_t *out, uint32_t len, uint64_t n, uint64_t version)
{
	uint64_t x = n * 0x9e3779b97f4a7c15u + version;

	for (uint32_t i = 0; i < len; i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		out[i] = (uint8_t)(x >> 56);
	}
}

/* The record of version for file number n; buf (KIT_DATA_MAX bytes) holds its payload. */
static inline struct store_record
kit_record(uint8_t *buf, uint64_t n, uint64_t version, uint32_t len)
{
	kit_fill(buf, len, n, version);
	return (struct store_record){ .client_version = version, .server_version = version / 3, .origin_timestamp = version * 1000,
		.origin_file_ident = 0, .received_ms = 1700000000000u + version, .data = buf, .len = len };
}

/* Is r what kit_record made? */
static inline bool
kit_same(const struct store_record *r, uint64_t n, uint32_t len)
{
	static uint8_t buf[KIT_DATA_MAX];
	struct store_record want = kit_record(buf, n, r->client_version, len);

	return r->len == len && r->server_version == want.server_version && r->origin_timestamp == want.origin_timestamp &&
	       r->origin_file_ident == want.origin_file_ident && r->received_ms == want.received_ms &&
	       (len == 0 || memcmp(r->data, buf, len) == 0);
}

/* A file number n that is not stored yet. */
static inline struct store_file
kit_file(uint64_t n)
{
	struct store_file f = { .file_ident = n, .file_ident_salt = n * 1000003 + 17, .created_ms = 1600000000000u + n };

	(void)snprintf(f.endpoint, sizeof(f.endpoint), "upstream/api/client/v2.0/app/demo/realm-sync");
	(void)snprintf(f.path, sizeof(f.path), "/plant/line-%llu", (unsigned long long)(n % 10));
	return f;
}

#endif
