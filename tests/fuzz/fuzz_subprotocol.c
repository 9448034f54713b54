/* Fuzz target of the subprotocol names (protocol/message.c).  Input: one name.  What is accepted is in order, and writing a
 * version and reading it again gives the same one. */
#include <stdint.h>
#include <stdlib.h>

#include "protocol/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void
must(bool condition)
{
	if (!condition)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct msg_subprotocol sp, again;
	char name[MSG_SUBPROTOCOL_MAX];
	size_t name_len;

	if (msg_parse_subprotocol((struct view){ data, len }, &sp) != PROTO_OK)
		return 0;
	must(sp.flavour == MSG_PBS || sp.flavour == MSG_FLX);
	must(sp.min <= sp.max && sp.max <= INT32_MAX);
	name_len = msg_format_subprotocol(sp.flavour, sp.max, name);
	must(name_len < sizeof(name) && name[name_len] == '\0');
	must(msg_parse_subprotocol((struct view){ (const uint8_t *)name, name_len }, &again) == PROTO_OK);
	must(again.flavour == sp.flavour && again.min == sp.max && again.max == sp.max);
	return 0;
}
