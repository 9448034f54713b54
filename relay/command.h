/* What an operator asks of the daemon itself: how it is, and what it should do.  The buffer's requests are admin.h's.
 *
 * On the event loop; each is answered at once.  relay/CONTROL describes them. */
#ifndef RELAY_COMMAND_H
#define RELAY_COMMAND_H

#include <stdbool.h>

#include "relay/admin.h"
#include "relay/relay.h"

/* Does what q says and fills a, which is zeroed.  False: there is no such command, a is as it was. */
bool command_run(struct relay *relay, const struct admin_request *q, struct admin_answer *a);

#endif
