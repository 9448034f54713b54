/* What holdfast says of itself: holdfastctl, asked from here. */
#ifndef TESTS_BENCH_LOAD_ASK_H
#define TESTS_BENCH_LOAD_ASK_H

#include "tests/bench/load/proxy.h"

/* The number `field` of the last line of `holdfastctl --json COMMAND` for the holdfast that p is or was; ends the bench when there is none. */
double ask_number(const struct proxy *p, const char *command, const char *field);

/* How long the same command takes, in ms, without --json. */
double ask_ms(const struct proxy *p, const char *command);

#endif
