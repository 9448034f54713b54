/* Fuzz target of protocol/chunked.c: a verdict does not depend on how the bytes arrive, what waits is left as it came, and a body is never
 * longer than what it came in. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/chunked.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define EVERY_LENGTH 1200 /* bytes: longer inputs are tried at every 37th length only */

static void
must(bool condition)
{
	if (!condition)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	enum proto_err last = PROTO_MORE;
	size_t step = len <= EVERY_LENGTH ? 1 : 37, body;

	for (size_t n = 0; n <= len; n += step) {
		uint8_t *copy = malloc(n > 0 ? n : 1);
		enum proto_err err;

		must(copy != NULL);
		if (n > 0)
			memcpy(copy, data, n);
		err = chunked_decode(copy, n, &body);
		must(last == PROTO_MORE || err == last);
		must(err == PROTO_OK ? body + 5 <= n : n == 0 || memcmp(copy, data, n) == 0);
		last = err;
		free(copy);
	}
	return 0;
}
