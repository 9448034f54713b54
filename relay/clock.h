/* Time.
 *
 * clock_ms() is for every timer and age within the process; it never jumps.  clock_wall_ms() is only for what people read and for
 * ages that must survive a restart: gateways boot in 1970.  Readable from any thread. */
#ifndef RELAY_CLOCK_H
#define RELAY_CLOCK_H

#include <stdint.h>

/* To the kernel's tick (4 ms on Debian), cheap enough for every message. */
uint64_t clock_ms(void);      /* monotonic milliseconds */
uint64_t clock_wall_ms(void); /* milliseconds since 1970 (UTC) */

/* Milliseconds since the machine started, with the time it was suspended: for ages when the wall clock is not to be believed. */
uint64_t clock_boot_ms(void);

/* The same to the millisecond, for log lines and for measuring. */
uint64_t clock_now_ms(void);
uint64_t clock_wall_now_ms(void);

/* Tests: from now on time stands still at these values until set again or advanced; clock_real ends it. */
void clock_set(uint64_t mono_ms, uint64_t wall_ms);
void clock_advance(uint64_t ms);
void clock_real(void);

#endif
