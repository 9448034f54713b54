/* A record of a buffer goes bad without Berkeley DB noticing: its page is whole, its own checksum is not. */
#ifndef TESTS_SCENARIO_SPOIL_H
#define TESTS_SCENARIO_SPOIL_H

#include <stdint.h>

/* Changes the last byte of the oldest record of a file (its id in the store) in a table ("changesets", "queries", "files") of the buffer at dir, which
 * nobody has open.  A failure ends the scenario. */
void spoil_record(const char *dir, uint64_t file_id, const char *table);

#endif
