/* What one writer's changesets make of a database, if nobody else writes: enough of it to compare two ways to the same end.
 *
 * Knows what test clients write: schema, CreateObject, EraseObject, and Update of a property.  An instruction that cannot be carried out, for
 * its object is missing or there already, is a fault: a server would refuse it (212). */
#ifndef TESTS_PEER_CONTENT_H
#define TESTS_PEER_CONTENT_H

#include <stddef.h>
#include <stdint.h>

struct content {
	struct content_value {
		char *name; /* table/key, or table/key/field; owned */
		uint32_t crc; /* of the value; 0 of an object */
	} *value;
	size_t n, cap;
};

/* Start it as { 0 }.  Returns NULL, or what is wrong with the changeset (static). */
const char *content_apply(struct content *c, const uint8_t *changeset, size_t len);

/* Of all objects and values, whatever the order they came in. */
uint32_t content_crc(const struct content *c);
void content_free(struct content *c);

#endif
