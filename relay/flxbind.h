/* The JSON that a BIND of flexible sync carries in place of a path: what of it says something of the client, not of the moment.
 *
 * An SDK states {"migratedPartition":"...","schemaVersion":3,"sessionReason":0}, the first only after a migration.  sessionReason tells why
 * it binds just now; the others are the same each time, and a BIND in its name (absent clients, the ident pool) must state them too. */
#ifndef RELAY_FLXBIND_H
#define RELAY_FLXBIND_H

#include <stddef.h>

#include "protocol/view.h"

#include "buffer/store.h"

/* Writes the lasting part of json to out as such an object with sessionReason 0, NUL terminated, and returns its length.  0: json is
 * no such object, or too long to be kept. */
size_t flxbind_lasting(struct view json, char out[STORE_BIND_MAX + 1]);

#endif
