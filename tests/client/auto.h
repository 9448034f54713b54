/* Background writes: "auto NAME RATE COUNT". */
#ifndef TESTS_CLIENT_AUTO_H
#define TESTS_CLIENT_AUTO_H

#include "tests/client/device.h"

struct session;
struct world;

#define AUTO_ENDLESS UINT64_MAX

/* From now on s writes count changesets at rate a second, from the loop. count 0 stops, AUTO_ENDLESS goes on until then. */
void auto_start(struct session *s, double rate, uint64_t count, enum device_write kind);
/* Starts and ends the ticking. */
void auto_open(struct world *w);
void auto_close(struct world *w);

#endif
