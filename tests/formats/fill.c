/* Fills a buffer with what test_format.c expects; built by the script `make` beside it against an older commit, so it may use only what
 * the store's interface had then. */
#include <err.h>
#include <stdio.h>

#include "tests/storekit.h"

int
main(int argc, char **argv)
{
	static uint8_t data[KIT_DATA_MAX];
	struct store_options opt = kit_options(argc == 2 ? argv[1] : "");
	struct store *s;
	char why[400];
	bool added;

	opt.log_file_bytes = 256u << 10;
	if (store_open(&opt, &s, why, sizeof(why)) != STORE_OK)
		errx(1, "%s", why);
	for (uint64_t n = 0; n < 3; n++) {
		struct store_file f = kit_file(n);

		if (store_begin(s) != STORE_OK)
			errx(1, "begin");
		f.held_client_version = f.shown_client_version = 10;
		f.ack = STORE_ACK_RELAY;
		f.state = n == 2 ? STORE_FILE_REJECTED : STORE_FILE_OK;
		if (store_file_put(s, &f) != STORE_OK)
			errx(1, "file");
		for (uint64_t v = 1; v <= 10; v++) {
			struct store_record r = kit_record(data, n, v, v == 7 ? 1500 : 40);

			if (store_append(s, f.id, &r, &added) != STORE_OK)
				errx(1, "append");
		}
#ifdef STORE_QUERY_MAX /* since format 3 */
		for (uint64_t v = 1; v <= 2; v++) {
			struct store_query q = { v, 4 * v, (const uint8_t *)"{\"things\":\"TRUEPREDICATE\"}", 26 };

			if (n == 1 && store_query_put(s, f.id, &q) != STORE_OK)
				errx(1, "query");
		}
#endif
		if (store_put(s, STORE_TOKENS, "token", 5, "known", 5) != STORE_OK || store_commit(s, true) != STORE_OK)
			errx(1, "commit");
	}
	store_close(s);
	return 0;
}
