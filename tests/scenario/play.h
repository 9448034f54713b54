/* Plays a scenario on the stage. */
#ifndef TESTS_SCENARIO_PLAY_H
#define TESTS_SCENARIO_PLAY_H

#include <stdint.h>

#include "tests/scenario/script.h"

/* Plays all lines, then what must hold at the end. Returns when all went well; else fail() ends the process.
 * file: as named to the user; seed: of the random numbers. */
void play(const struct script *s, const char *file, uint64_t seed);

#endif
