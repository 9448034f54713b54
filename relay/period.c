/* Days and months of a contract; see period.h.
 *
 * The calendar is asked one thing only: which day of its month a day is (gmtime_r).  From that the first of its month follows, and as 31 days
 * later it is always the next month, its length. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "relay/period.h"
#include "relay/schedule.h"
#include "relay/word.h"

#define DAY_S 86400u
#define TEXT_MAX_LEN 31 /* "monthly 31 23:59" and then some */

static bool
take_time(const char *word, unsigned *min)
{
	return strlen(word) == strlen("HH:MM") && schedule_time(word, min) && *min < 1440;
}

static bool
take_day(const char *word, unsigned *day)
{
	uint64_t n;

	if (!word_number(word, &n) || n < 1 || n > 31)
		return false;
	*day = (unsigned)n;
	return true;
}

bool
period_parse(const char *text, struct period *p, char *why, size_t why_len)
{
	char copy[TEXT_MAX_LEN + 1], *rest = NULL, *word;
	bool ok = strlen(text) <= TEXT_MAX_LEN;

	memset(p, 0, sizeof(*p));
	snprintf(copy, sizeof(copy), "%s", text);
	word = strtok_r(copy, " ", &rest);
	ok = ok && word != NULL && (strcmp(word, "daily") == 0 || strcmp(word, "monthly") == 0);
	if (ok && word[0] == 'm')
		p->day = 1;
	if (ok && (word = strtok_r(NULL, " ", &rest)) != NULL && p->day != 0 && take_day(word, &p->day))
		word = strtok_r(NULL, " ", &rest);
	ok = ok && (word == NULL || (take_time(word, &p->min) && strtok_r(NULL, " ", &rest) == NULL));
	if (!ok)
		snprintf(why, why_len, "\"%.40s\" is no period: daily [HH:MM] or monthly [DAY] [HH:MM]", text);
	return ok;
}

/* The first day of the month of this day; both count from 1970. */
static uint64_t
first_of_month(uint64_t day)
{
	time_t t = (time_t)(day * DAY_S);
	struct tm tm;

	return gmtime_r(&t, &tm) != NULL ? day - (uint64_t)(tm.tm_mday - 1) : day;
}

/* When it begins in the month with this first day. */
static uint64_t
begins_in(const struct period *p, uint64_t first)
{
	uint64_t length = first_of_month(first + 31) - first;

	return (first + (p->day < length ? p->day : length) - 1) * DAY_S + p->min * 60;
}

void
period_at(const struct period *p, uint64_t wall_s, uint64_t *begin, uint64_t *end)
{
	uint64_t first = first_of_month(wall_s / DAY_S), shift = p->min * 60;

	if (p->day == 0) {
		*end = (wall_s + DAY_S - shift) / DAY_S * DAY_S + shift;
		*begin = *end < DAY_S ? 0 : *end - DAY_S;
	} else if (wall_s < begins_in(p, first)) {
		*end = begins_in(p, first);
		*begin = first == 0 ? 0 : begins_in(p, first_of_month(first - 1));
	} else {
		*begin = begins_in(p, first);
		*end = begins_in(p, first_of_month(first + 31));
	}
}
