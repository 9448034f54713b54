/* Orders for a daemon on a machine whose calls fail (tests/badhost): the file that it has mapped, seen from the scenario. */
#ifndef TESTS_SCENARIO_FAULT_H
#define TESTS_SCENARIO_FAULT_H

struct orders;

/* Makes the file and maps it.  A failure ends the scenario. */
struct orders *fault_open(const char *path);

struct fault_count {
	unsigned calls, failed; /* under the order before */
};

/* An order as in play.c ("malloc 7 1", "pieces 1", "clock real -5000", "off"). */
struct fault_count fault_give(struct orders *o, char *order);

#endif
