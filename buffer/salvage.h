/* Takes records that can be trusted out of damaged tables: see salvage.c. */
#ifndef BUFFER_SALVAGE_H
#define BUFFER_SALVAGE_H

#include "buffer/ladder.h"

/* Calls each for every whole value in the table file at path that begins like a record; buf lives for the call.  key: as in struct
 * store_options.  False from each ends the walk.  STORE_NOTFOUND: there is no such file. */
STORE_MUSTCHECK enum store_err salvage_walk(const char *path, const uint8_t *key,
					    bool (*each)(void *arg, const uint8_t *buf, size_t len), void *arg);

/* Fills the new store s from the tables in n directories, the newest last; counts in out. */
STORE_MUSTCHECK enum store_err salvage_into(struct store *s, const char *const *dirs, unsigned n, const uint8_t *key,
					    struct ladder_result *out);

#endif
