/* Asks a daemon with holdfastctl, running or not. */
#ifndef TESTS_SCENARIO_CTL_H
#define TESTS_SCENARIO_CTL_H

#include <stdbool.h>

#include "tests/scenario/text.h"

/* Runs "PROGRAM -d STATE --json COMMAND"; the answer is "ok exit=N key=value ..." (exit status 0 or 1) or "fail exit=N ...": the fields
 * of the last object, then those of the others as far as they fit. Blanks in values become "_". True when it begins with "ok". */
bool ctl_ask(const char *program, const char *state, const char *command, char answer[TEXT_MAX]);

#endif
