/* Two text files that must be equal but for salts. */
#ifndef TESTS_SCENARIO_COMPARE_H
#define TESTS_SCENARIO_COMPARE_H

/* Servers choose salts at random, so numbers of 2^40 and more are salts here (no version, size or time of a test is as large) and
 * are compared by order of first appearance in their own file: the third salt of one file must be the third of the other. All
 * else must be equal, byte for byte. A difference ends the scenario, and so do two empty files. */
void compare_files(const char *a, const char *b);

#endif
