/* Tests the test: switches each rule of pre-merge off in turn (a build of protocol/premerge with PREMERGE_MUTANTS) and plays cases
 * until one notices. Usage: mutants [CASES [FIRST-SEED]]; the exit status is 1 if a rule that carries correctness is not noticed.
 *
 * Rules that no case can notice are caution; the reasons stand in premerge.def. A caution that is noticed after all is shown too. CASES is
 * for them; the others have PATIENCE times as many before they count as not noticed. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "protocol/premerge.h"
#include "tests/merge/case.h"

#define CASES 200000
#define PATIENCE 10

static const struct {
	const char *id, *words;
	bool caution;
} rules[] = {
#define RULE(id, words) { #id, words, false },
#define CAUTION(id, words, why) { #id, words "; " why, true },
#include "protocol/premerge.def"
#undef RULE
#undef CAUTION
};

int
main(int argc, char **argv)
{
	uint64_t cases = argc > 1 ? strtoull(argv[1], NULL, 10) : CASES, first = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
	unsigned noticed = 0, missed = 0;

	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	for (unsigned r = 0; r < PREMERGE_NRULES; r++) {
		struct case_sums sums = { 0 };
		const char *fault = NULL;
		uint64_t seed, end = first + cases * (rules[r].caution ? 1 : PATIENCE);

		premerge_off = UINT64_C(1) << r;
		for (seed = first; fault == NULL && seed < end; seed++)
			fault = case_run(seed, &sums, NULL);
		noticed += fault != NULL;
		missed += fault == NULL && !rules[r].caution;
		if (fault != NULL)
			printf("%-16s noticed%s by seed %llu: %s\n", rules[r].id, rules[r].caution ? " (caution)" : "",
			       (unsigned long long)seed - 1, fault);
		else
			printf("%-16s %s: %s\n", rules[r].id, rules[r].caution ? "not noticed, caution" : "NOT NOTICED", rules[r].words);
	}
	printf("%u of %u noticed in up to %llu cases each (rules: %u times that), %u missed\n", noticed, (unsigned)PREMERGE_NRULES, (unsigned long long)cases,
	       PATIENCE, missed);
	return missed > 0;
}
