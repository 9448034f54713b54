/* Time.
 *
 * Everything in relay/ asks here and never the kernel, so that a test can set it.  What a test has set are atomics: the committer thread
 * reads them too.  Nothing is cached by pass: libevent 2.1 runs callbacks before a pass of ours could update a cache, and the coarse
 * clocks cost a few nanoseconds.  CLOCK_MONOTONIC, not BOOTTIME: libevent's timers run on it, and a gateway
 * that was suspended has lost its connections anyway. */
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

#include "relay/clock.h"

static _Atomic uint64_t mono_ms, wall_ms;
static _Atomic bool is_set; /* a test stopped the clocks */

static uint64_t
read_ms(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

uint64_t
clock_ms(void)
{
	return is_set ? mono_ms : read_ms(CLOCK_MONOTONIC_COARSE);
}

uint64_t
clock_wall_ms(void)
{
	return is_set ? wall_ms : read_ms(CLOCK_REALTIME_COARSE);
}

uint64_t
clock_boot_ms(void)
{
	return is_set ? mono_ms : read_ms(CLOCK_BOOTTIME);
}

uint64_t
clock_now_ms(void)
{
	return is_set ? mono_ms : read_ms(CLOCK_MONOTONIC);
}

uint64_t
clock_wall_now_ms(void)
{
	return is_set ? wall_ms : read_ms(CLOCK_REALTIME);
}

void
clock_set(uint64_t mono, uint64_t wall)
{
	mono_ms = mono;
	wall_ms = wall;
	is_set = true;
}

void
clock_advance(uint64_t ms)
{
	clock_set(clock_ms() + ms, clock_wall_ms() + ms);
}

void
clock_real(void)
{
	is_set = false;
}
