/* The end does not take longer than it may. */
#ifndef RELAY_STOP_H
#define RELAY_STOP_H

#include <stdint.h>

/* Unless the process has ended in ms from now, it ends where it is, with status 1 and event=stop_timeout.  To be called once.  By I1 nothing
 * acknowledged depends on an orderly end. */
void stop_within(uint64_t ms);

#endif
