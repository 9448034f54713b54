/* Who wrote what, and what of it arrived: the books of the clients against those of the upstream.
 *
 * delivered: for each device, the upstream has integrated exactly the changesets that the device wrote: each client_version once,
 * in rising order, with equal length and CRC.  acked: the same for those that the device saw acknowledged; of the others the
 * upstream may have any, each at most once and in order. */
#ifndef TESTS_SCENARIO_LEDGER_H
#define TESTS_SCENARIO_LEDGER_H

#include <stdbool.h>

#include "tests/scenario/stage.h"

/* A command that a client accepted: remembers the devices that it made. */
void ledger_note(const struct member *client, const char *command);
/* client, device: NULL = all. A difference ends the scenario. */
void ledger_check(const struct member *client, const char *device, bool delivered);
void ledger_free(void);

#endif
