/* Tests the test: switches each rule of pre-merge off in turn (a build of protocol/premerge with PREMERGE_MUTANTS) and plays cases
 * until one notices. Usage: mutants [CASES [FIRST-SEED]]; the exit status is 1 if a rule that carries correctness is not noticed, or one that was
 * proven to follow from the others is.
 *
 * What no case notices is caution; the reasons stand in premerge.def. A barrier of which that is said and which is noticed after all is shown too.
 * CASES is for caution; the rules have PATIENCE times as many before they count as not noticed. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "protocol/premerge.h"
#include "tests/merge/case.h"

#define CASES 200000
#define PATIENCE 10

enum sort { SORT_RULE, SORT_CAUTION, SORT_PROVEN };

static const struct {
	const char *id, *words, *why;
	enum sort sort;
} rules[] = {
#define RULE(id, words) { #id, words, "", SORT_RULE },
#define CAUTION(id, words, why) { #id, words, why, SORT_CAUTION },
#define PROVEN(id, words, why) { #id, words, why, SORT_PROVEN },
#include "protocol/premerge.def"
#undef RULE
#undef CAUTION
#undef PROVEN
};

/* How it came out, by sort: not noticed, noticed. */
static const char *const outcome[][2] = {
	[SORT_RULE] = { "NOT NOTICED", "noticed" },
	[SORT_CAUTION] = { "caution, not noticed", "caution, but noticed" },
	[SORT_PROVEN] = { "caution, proven", "PROVEN, BUT NOTICED" },
};

/* Plays cases with rule r switched off until one notices: its seed and what went wrong; NULL if none does. */
static const char *
play(unsigned r, uint64_t cases, uint64_t first, uint64_t *seed)
{
	uint64_t end = first + cases * (rules[r].sort == SORT_RULE ? PATIENCE : 1);
	struct case_sums sums = { 0 };
	const char *fault = NULL;

	premerge_off = UINT64_C(1) << r;
	for (uint64_t s = first; fault == NULL && s < end; s++) {
		fault = case_run(s, &sums, NULL);
		*seed = s;
	}
	return fault;
}

int
main(int argc, char **argv)
{
	uint64_t cases = argc > 1 ? strtoull(argv[1], NULL, 10) : CASES, first = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
	unsigned count[3][2] = { { 0 } }; /* as outcome */

	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	for (unsigned r = 0; r < PREMERGE_NRULES; r++) {
		uint64_t seed = 0;
		const char *fault = play(r, cases, first, &seed);

		count[rules[r].sort][fault != NULL]++;
		printf("%-16s %s", rules[r].id, outcome[rules[r].sort][fault != NULL]);
		if (fault != NULL)
			printf(" by seed %llu: %s\n", (unsigned long long)seed, fault);
		else
			printf(": %s; %s\n", rules[r].words, rules[r].why);
	}
	printf("%u rules: %u noticed, %u missed; %u caution in %llu cases each: %u not noticed, %u proven, %u noticed after all\n", (unsigned)PREMERGE_NRULES,
	       count[SORT_RULE][1], count[SORT_RULE][0], (unsigned)PREMERGE_NRULES - count[SORT_RULE][0] - count[SORT_RULE][1], (unsigned long long)cases,
	       count[SORT_CAUTION][0], count[SORT_PROVEN][0], count[SORT_CAUTION][1] + count[SORT_PROVEN][1]);
	return count[SORT_RULE][0] + count[SORT_PROVEN][1] > 0;
}
