/* How a scenario ends badly: one place that knows the line being played, and what to show and tidy up.
 *
 * Each scenario is played in a process of its own, so a failure is an exit: nobody above has to hand an error on. */
#ifndef TESTS_SCENARIO_FAIL_H
#define TESTS_SCENARIO_FAIL_H

/* What is being played now: file:line and the text of the line; borrowed. */
void fail_at(const char *file, unsigned line, const char *text);
/* Called once by fail() after it has said why: shows logs, ends processes. */
void fail_set_cleanup(void (*cleanup)(void));
/* Says where and why, cleans up, exits 1. A failure inside the clean-up only exits. */
_Noreturn void fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
