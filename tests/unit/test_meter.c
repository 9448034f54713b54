/* Tests relay/period and the ledger of relay/meter: the calendar of a contract, and whose bytes are whose when clocks jump.  The bytes themselves, the
 * disk and what follows when they are used up are the scenarios budget*. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tests/harness.h"

#include "relay/meter.h"

/* A moment of UTC, without a calendar of the C library's. */
static uint64_t
utc(unsigned year, unsigned month, unsigned day, unsigned h, unsigned m)
{
	static const unsigned before[] = { 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334 };
	uint64_t days = before[month - 1] + day - 1;

	for (unsigned y = 1970; y < year; y++)
		days += y % 4 == 0 && (y % 100 != 0 || y % 400 == 0) ? 366 : 365;
	if (month > 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0))
		days++;
	return days * 86400 + h * 3600 + m * 60;
}

static struct period
period_of(const char *text)
{
	struct period p;
	char why[100];

	if (!period_parse(text, &p, why, sizeof(why)))
		harness_fail(__FILE__, __LINE__, "%s", why);
	return p;
}

TEST(period_refused)
{
	static const char *const bad[] = { "", " ", "weekly", "day", "month", "daily 24:00", "daily 6:00", "daily 06:60", "daily 1", "daily 06:00 x", "monthly 0",
		"monthly 32", "monthly -1", "monthly 06:00 1", "monthly 1 24:00", "monthly 1 06:00 x", "monthly 1 1", "dailymonthly",
		"monthly 1 06:000", "monthly                  1 06:00  " };
	struct period p;
	char why[100];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		why[0] = '\0';
		if (period_parse(bad[i], &p, why, sizeof(why)))
			harness_fail(__FILE__, __LINE__, "got accepted, want refused: %s", bad[i]);
		CHECK(strstr(why, "is no period") != NULL);
	}
}

TEST(period_bounds)
{
	static const struct {
		const char *text;
		unsigned now[5], begin[5], end[5];
	} t[] = {
		{ "daily", { 2026, 11, 29, 0, 0 }, { 2026, 11, 29, 0, 0 }, { 2026, 11, 30, 0, 0 } },
		{ "daily", { 2026, 11, 29, 23, 59 }, { 2026, 11, 29, 0, 0 }, { 2026, 11, 30, 0, 0 } },
		{ "daily 06:30", { 2026, 11, 29, 6, 29 }, { 2026, 11, 28, 6, 30 }, { 2026, 11, 29, 6, 30 } },
		{ "daily 06:30", { 2026, 11, 29, 6, 30 }, { 2026, 11, 29, 6, 30 }, { 2026, 11, 30, 6, 30 } },
		{ "monthly", { 2026, 11, 1, 0, 0 }, { 2026, 11, 1, 0, 0 }, { 2026, 12, 1, 0, 0 } },
		{ "monthly", { 2026, 12, 31, 23, 59 }, { 2026, 12, 1, 0, 0 }, { 2027, 1, 1, 0, 0 } },
		{ "monthly 06:00", { 2026, 11, 1, 5, 59 }, { 2026, 10, 1, 6, 0 }, { 2026, 11, 1, 6, 0 } },
		{ "monthly 15", { 2026, 11, 14, 23, 59 }, { 2026, 10, 15, 0, 0 }, { 2026, 11, 15, 0, 0 } },
		{ "monthly 15 06:00", { 2026, 1, 15, 5, 59 }, { 2025, 12, 15, 6, 0 }, { 2026, 1, 15, 6, 0 } },
		{ "monthly 31", { 2026, 2, 27, 23, 59 }, { 2026, 1, 31, 0, 0 }, { 2026, 2, 28, 0, 0 } }, /* the last day */
		{ "monthly 31", { 2026, 2, 28, 0, 0 }, { 2026, 2, 28, 0, 0 }, { 2026, 3, 31, 0, 0 } },
		{ "monthly 31", { 2028, 2, 28, 12, 0 }, { 2028, 1, 31, 0, 0 }, { 2028, 2, 29, 0, 0 } },
		{ "monthly 30", { 2028, 2, 29, 0, 0 }, { 2028, 2, 29, 0, 0 }, { 2028, 3, 30, 0, 0 } },
		{ "monthly 31", { 2026, 4, 30, 0, 0 }, { 2026, 4, 30, 0, 0 }, { 2026, 5, 31, 0, 0 } },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		const unsigned *n = t[i].now, *b = t[i].begin, *e = t[i].end;
		struct period p = period_of(t[i].text);
		uint64_t begin, end;

		period_at(&p, utc(n[0], n[1], n[2], n[3], n[4]), &begin, &end);
		CHECK_U64(begin, utc(b[0], b[1], b[2], b[3], b[4]));
		CHECK_U64(end, utc(e[0], e[1], e[2], e[3], e[4]));
	}
}

/* Whatever the time is, it lies in its period, and the periods touch: for ten years, and for the beginning of all time. */
TEST(period_touch)
{
	static const char *const texts[] = { "daily 13:07", "monthly", "monthly 29 23:59", "monthly 31 00:01" };

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct period p = period_of(texts[i]);
		uint64_t begin, end, last = 0;

		for (uint64_t now = 0; now < utc(1980, 1, 1, 0, 0); now += 7 * 3600 + 11) {
			period_at(&p, now, &begin, &end);
			CHECK(begin <= now && now < end);
			if (last != 0 && end != last)
				CHECK_U64(begin, last);
			last = end;
		}
	}
}

TEST(ledger_turns)
{
	struct period p = period_of("monthly");
	struct meter_ledger l = { .now = { .used = 70 } };

	CHECK(!meter_ledger_turn(&l, &p, utc(2026, 11, 10, 0, 0))); /* what was used while nobody knew the time is this month's */
	CHECK_U64(l.now.used, 70);
	l.now.used += 30;
	l.now.added = 5;
	CHECK(!meter_ledger_turn(&l, &p, utc(2026, 11, 30, 23, 59)));
	CHECK_U64(l.now.used, 100);
	CHECK(meter_ledger_turn(&l, &p, utc(2026, 12, 1, 0, 0)));
	CHECK_U64(l.now.used, 0);
	CHECK_U64(l.now.added, 0);
	CHECK_U64(l.before.used, 100);
	CHECK(!meter_ledger_turn(&l, &p, utc(2026, 12, 1, 0, 1)));
	CHECK(meter_ledger_turn(&l, &p, utc(2027, 3, 5, 0, 0))); /* months without a link */
	CHECK_U64(l.now.begin, utc(2027, 3, 1, 0, 0));
}

TEST(ledger_clock_comes_back)
{
	struct period p = period_of("monthly");
	struct meter_ledger l = { 0 };

	CHECK(!meter_ledger_turn(&l, &p, utc(2026, 11, 10, 0, 0)));
	l.now.used = 100;
	l.now.added = 7;
	CHECK(meter_ledger_turn(&l, &p, utc(2031, 1, 1, 0, 0))); /* a clock that ran ahead */
	l.now.used = 20;
	l.now.added = 1;
	CHECK(!meter_ledger_turn(&l, &p, utc(2026, 11, 10, 1, 0)));
	CHECK_U64(l.now.begin, utc(2026, 11, 1, 0, 0));
	CHECK_U64(l.now.end, utc(2026, 12, 1, 0, 0));
	CHECK_U64(l.now.used, 120);
	CHECK_U64(l.now.added, 8);
	CHECK_U64(l.before.end, 0);
	CHECK(meter_ledger_turn(&l, &p, utc(2026, 12, 1, 0, 0)));
	CHECK_U64(l.before.used, 120);

	/* and one that was wrong from the start, or is wrong now: nothing is given away */
	l.now.used = 50;
	CHECK(!meter_ledger_turn(&l, &p, utc(2026, 6, 1, 0, 0)));
	CHECK_U64(l.now.used, 50);
	CHECK(!meter_ledger_turn(&l, &p, utc(2026, 6, 2, 0, 0)));
	CHECK_U64(l.now.used, 50);
}

TEST(ledger_another_period)
{
	struct period month = period_of("monthly"), later = period_of("monthly 15"), day = period_of("daily");
	struct meter_ledger l = { 0 };

	CHECK(!meter_ledger_turn(&l, &month, utc(2026, 11, 20, 12, 0)));
	l.now.used = 100;
	CHECK(!meter_ledger_turn(&l, &later, utc(2026, 11, 20, 12, 1)));
	CHECK_U64(l.now.used, 100);
	CHECK_U64(l.now.end, utc(2026, 12, 15, 0, 0));
	CHECK(!meter_ledger_turn(&l, &day, utc(2026, 11, 20, 12, 2)));
	CHECK_U64(l.now.used, 100);
	CHECK(meter_ledger_turn(&l, &day, utc(2026, 11, 21, 0, 0)));
	CHECK_U64(l.now.used, 0);
}

TEST(ledger_text)
{
	struct meter_ledger l = { { 1, 2, 3, 4 }, { UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX } }, back = { 0 };
	char text[METER_TEXT_MAX];

	meter_ledger_format(&l, UINT64_MAX, text);
	CHECK(meter_ledger_parse(text, &back));
	CHECK_U64(back.now.begin, 1);
	CHECK_U64(back.now.end, 2);
	CHECK_U64(back.now.used, UINT64_MAX); /* as it was told, not as it is */
	CHECK_U64(back.now.added, 4);
	CHECK(memcmp(&back.before, &l.before, sizeof(l.before)) == 0);
	CHECK(!meter_ledger_parse("", &back));
	CHECK(!meter_ledger_parse("1 2 3 4 5 6 7", &back));
	CHECK_U64(back.now.begin, 1); /* as before */
}

TEST(step_bounds)
{
	CHECK_U64(meter_step(1), 4096);
	CHECK_U64(meter_step(1024 * 1024), 4096);
	CHECK_U64(meter_step(50ULL * 1024 * 1024), 50ULL * 1024 * 4);
	CHECK_U64(meter_step(1ULL << 40), 16ULL << 20);
}
