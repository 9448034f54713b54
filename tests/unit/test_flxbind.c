/* Tests relay/flxbind: what of a flexible sync BIND lasts. */
#include <stdio.h>
#include <string.h>

#include "tests/harness.h"

#include "relay/flxbind.h"

TEST(lasting)
{
	static const struct {
		const char *in, *out; /* out "": none */
	} row[] = {
		{ "{\"schemaVersion\":0,\"sessionReason\":0}", "{\"schemaVersion\":0,\"sessionReason\":0}" },
		{ "{\"sessionReason\":1,\"schemaVersion\":18446744073709551615}", "{\"schemaVersion\":18446744073709551615,\"sessionReason\":0}" },
		{ "{\"migratedPartition\":\"a\\\"b\",\"schemaVersion\":2,\"sessionReason\":0}",
		  "{\"migratedPartition\":\"a\\\"b\",\"schemaVersion\":2,\"sessionReason\":0}" },
		{ "{\"migratedPartition\":\"\\\"x\\\"\"}", "{\"migratedPartition\":\"\\\"x\\\"\",\"sessionReason\":0}" },
		{ " { \"sessionReason\" : 3 , \"other\" : [1,2] } ", "{\"sessionReason\":0}" },
		{ "{}", "" },
		{ "{\"other\":1}", "" },
		{ "/a/path", "" },
		{ "", "" },
		{ "{\"schemaVersion\":1} x", "" },
		{ "{\"schemaVersion\":1,\"schemaVersion\":2}", "" },
	};
	char out[STORE_BIND_MAX + 1];

	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		CHECK_U64(flxbind_lasting(view_of(row[i].in), out), strlen(row[i].out));
		CHECK_STR(out, row[i].out);
	}
}

TEST(too_long)
{
	char in[2 * STORE_BIND_MAX], out[STORE_BIND_MAX + 1];
	const size_t other = strlen("{\"migratedPartition\":\"\",\"sessionReason\":0}");

	for (size_t n = STORE_BIND_MAX - other; n <= STORE_BIND_MAX - other + 1; n++) {
		size_t at = (size_t)snprintf(in, sizeof(in), "{\"migratedPartition\":\"");

		memset(in + at, 'x', n);
		memcpy(in + at + n, "\"}", 3);
		CHECK_U64(flxbind_lasting(view_of(in), out), n + other <= STORE_BIND_MAX ? n + other : 0);
	}
}
