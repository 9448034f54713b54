/* Word to the service manager (sd_notify(3)), when there is one: READY, STOPPING, more time, the watchdog. */
#ifndef RELAY_NOTIFY_H
#define RELAY_NOTIFY_H

#include <stdint.h>

/* Sends lines like "READY=1"; does nothing without NOTIFY_SOCKET.  Failure is not an error: a manager that is gone cannot be helped. */
void notify_send(const char *lines);

/* Asks for this much more time, from now, to start or to stop. */
void notify_extend_ms(uint64_t ms);

/* How often the manager expects WATCHDOG=1 of this process; 0: never. */
uint64_t notify_watchdog_ms(void);

#endif
