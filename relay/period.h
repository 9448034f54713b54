/* The periods of a contract by volume (option budget_period): days, or months.
 *
 *   period = daily [ HH:MM ] | monthly [ DAY ] [ HH:MM ]      UTC; without a time at 00:00, without a day on the 1st
 *
 * A month that has no such day begins on its last one instead, as contracts have it.
 *
 * Pure: no clock, no log. */
#ifndef RELAY_PERIOD_H
#define RELAY_PERIOD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct period {
	unsigned day; /* of the month on which it begins, 1 to 31; 0: it is a day */
	unsigned min; /* minutes since midnight at which it begins */
};

/* False with a sentence in why. */
bool period_parse(const char *text, struct period *p, char *why, size_t why_len);

/* The one in which this time (seconds since 1970, UTC) lies: *begin <= wall_s < *end. */
void period_at(const struct period *p, uint64_t wall_s, uint64_t *begin, uint64_t *end);

#endif
