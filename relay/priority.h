/* Which backlogs go first when there is not room for all (option first): patterns of server paths, in order of importance.
 *
 *   first   = [ pattern *( blank pattern ) ]
 *   pattern = what fnmatch(3) takes, without flags: "*" matches "/", too
 *
 * The rank of a path is the place of the first pattern that matches it, from 0; of one that none matches, how many patterns there are.  So
 * without any all paths have rank 0.  Pure: no clock, no log. */
#ifndef RELAY_PRIORITY_H
#define RELAY_PRIORITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PRIORITY_PATTERNS 16 /* each is tried for each batch */
#define PRIORITY_RANKS (PRIORITY_PATTERNS + 1)
#define PRIORITY_TEXT_MAX 180 /* bytes of the option: what a line of the configuration holds */

struct priority {
	unsigned n;			  /* patterns */
	uint8_t at[PRIORITY_PATTERNS];	  /* where each begins in text */
	char text[PRIORITY_TEXT_MAX + 1]; /* each ends with a NUL; zeros behind the last */
};

/* text: "" is no order.  False with a sentence in why; *p is then of no use. */
bool priority_parse(const char *text, struct priority *p, char *why, size_t why_len);

bool priority_same(const struct priority *a, const struct priority *b);

/* path: of any length. */
unsigned priority_rank(const struct priority *p, const char *path);

#endif
