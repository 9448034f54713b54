/* The link's windows; see schedule.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/schedule.h"

#define DAY_MIN 1440u
#define WINDOW_MAX 63 /* characters of one */

static const char day_names[7][4] = { "mon", "tue", "wed", "thu", "fri", "sat", "sun" };

/* 0..6, or -1; takes three characters. */
static int
day_at(const char *p)
{
	for (int i = 0; i < 7; i++)
		if (strncmp(p, day_names[i], 3) == 0)
			return i;
	return -1;
}

static bool
parse_days(const char *word, unsigned *days)
{
	int from, to;

	*days = 0;
	if (strcmp(word, "daily") == 0) {
		*days = 0x7f;
		return true;
	}
	from = to = day_at(word);
	if (from < 0 || (word[3] != '\0' && (word[3] != '-' || (to = day_at(word + 4)) < 0 || word[7] != '\0')))
		return false;
	for (int d = from;; d = (d + 1) % 7) {
		*days |= 1u << d;
		if (d == to)
			return true;
	}
}

bool
schedule_time(const char *p, unsigned *min)
{
	for (int i = 0; i < 5; i++)
		if (i == 2 ? p[i] != ':' : p[i] < '0' || p[i] > '9')
			return false;
	*min = (unsigned)((p[0] - '0') * 10 + (p[1] - '0')) * 60 + (unsigned)((p[3] - '0') * 10 + (p[4] - '0'));
	return p[3] < '6' && *min <= DAY_MIN;
}

static bool
parse_times(const char *word, unsigned *begin, unsigned *end)
{
	if (strlen(word) != strlen("HH:MM-HH:MM") || word[5] != '-' || !schedule_time(word, begin) || !schedule_time(word + 6, end) ||
	    *begin == DAY_MIN)
		return false;
	if (*end <= *begin)
		*end += DAY_MIN;
	return true;
}

/* "64KiB/s" */
static bool
parse_rate(const char *word, uint64_t *rate)
{
	static const struct {
		const char *suffix;
		unsigned shift;
	} units[] = { { "/s", 0 }, { "KiB/s", 10 }, { "MiB/s", 20 } };
	char *end;
	unsigned long v;

	if (word[0] < '0' || word[0] > '9' || strlen(word) > 12)
		return false;
	v = strtoul(word, &end, 10);
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(end, units[i].suffix) == 0) {
			*rate = (uint64_t)v << units[i].shift;
			return v > 0 && v < 1ul << 20;
		}
	}
	return false;
}

/* Changes text. */
static bool
parse_window(struct schedule *s, char *text)
{
	char *rest = NULL, *days = strtok_r(text, " ", &rest), *times = strtok_r(NULL, " ", &rest), *rate = strtok_r(NULL, " ", &rest);
	size_t i = s->n;

	if (i == SCHEDULE_WINDOWS || days == NULL || times == NULL || strtok_r(NULL, " ", &rest) != NULL)
		return false;
	s->window[i].rate = 0;
	s->n++;
	return parse_days(days, &s->window[i].days) && parse_times(times, &s->window[i].begin, &s->window[i].end) &&
	       (rate == NULL || parse_rate(rate, &s->window[i].rate));
}

bool
schedule_parse(const char *text, struct schedule *s, char *why, size_t why_len)
{
	char window[WINDOW_MAX + 1], copy[WINDOW_MAX + 1];
	size_t len;

	memset(s, 0, sizeof(*s));
	for (const char *p = text; *text != '\0'; p += len + 1) {
		len = strcspn(p, ",");
		snprintf(window, sizeof(window), "%.*s", len > WINDOW_MAX ? WINDOW_MAX : (int)len, p);
		memcpy(copy, window, sizeof(copy));
		if (len > WINDOW_MAX || !parse_window(s, window)) {
			snprintf(why, why_len, "\"%s\" is no window: DAYS HH:MM-HH:MM [RATE/s]", copy);
			return false;
		}
		if (p[len] == '\0')
			break;
	}
	return true;
}

bool
schedule_open(const struct schedule *s, uint64_t wall_s, uint64_t *rate)
{
	unsigned day = (unsigned)((wall_s / 86400 + 3) % 7), min = (unsigned)(wall_s % 86400 / 60); /* 1970 began on a Thursday */
	unsigned yesterday = (day + 6) % 7;
	bool open = s->n == 0, unbounded = s->n == 0;

	*rate = 0;
	for (size_t i = 0; i < s->n; i++) {
		unsigned begin = s->window[i].begin, end = s->window[i].end;

		if (!((s->window[i].days >> day & 1) != 0 && min >= begin && min < end) &&
		    !((s->window[i].days >> yesterday & 1) != 0 && min + DAY_MIN >= begin && min + DAY_MIN < end))
			continue;
		open = true;
		if (s->window[i].rate == 0)
			unbounded = true;
		else if (s->window[i].rate > *rate)
			*rate = s->window[i].rate;
	}
	if (unbounded)
		*rate = 0;
	return open;
}
