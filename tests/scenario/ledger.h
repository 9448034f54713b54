/* Who wrote what, and what of it arrived: the books of the clients against those of the upstream.
 *
 * delivered: for each device, the upstream has integrated exactly the changesets that the device wrote: each client_version once,
 * in rising order, with equal length and CRC.  acked: the same for those that the device saw acknowledged; of the others the
 * upstream may have any, each at most once and in order.  merged: what the upstream has of the device comes to the same as what the device
 * wrote; changesets may be missing or shorter (pre-merge), but not the last, and the order is kept. */
#ifndef TESTS_SCENARIO_LEDGER_H
#define TESTS_SCENARIO_LEDGER_H

#include <stdbool.h>

#include "tests/scenario/stage.h"

/* A command that a client accepted: remembers the devices that it made. */
void ledger_note(const struct member *client, const char *command);
enum ledger_claim { LEDGER_ACKED, LEDGER_DELIVERED, LEDGER_MERGED };

/* client, device: NULL = all. A difference ends the scenario. */
void ledger_check(const struct member *client, const char *device, enum ledger_claim claim);
void ledger_free(void);

#endif
