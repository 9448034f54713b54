/* What time is it, on a gateway that may boot in 1970?
 *
 * The wall clock is believed unless it is behind the last good time, which is kept on disk every few minutes: then it has lost its
 * battery, and the time is at least that last good one and what has passed since by boot time.  So ages are never overestimated, and a
 * clock that was lost locks nobody out.  Good is a wall clock that is not behind; and also one that is, while upstream has just proved
 * itself by its certificate, which no clock far off would have accepted (so a clock that once ran ahead is forgiven). */
#ifndef RELAY_WALLTIME_H
#define RELAY_WALLTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct relay;
struct walltime;

struct walltime *walltime_new(struct relay *relay);
void walltime_free(struct walltime *w);

/* Milliseconds since 1970: exact, or else at least that many. */
uint64_t walltime_ms(const struct walltime *w, bool *exact);

/* The same from its parts.  good_ms: the last good time (0 = none known), at which the machine was up for good_boot_ms. */
uint64_t walltime_judge(uint64_t good_ms, uint64_t good_boot_ms, uint64_t wall_ms, uint64_t boot_ms, bool *exact);

#define WALLTIME_FLOOR_MS 1735689600000u /* 2025-01-01: no clock before it was ever right here */

#endif
