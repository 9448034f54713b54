/* A thread that waits, and ends the process if it is still there; see stop.h.  No timer of the loop could: what hangs is the loop, in a disk that
 * does not answer. */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "relay/log.h"
#include "relay/notify.h"
#include "relay/stop.h"

static void *
wait_and_end(void *arg)
{
	const uint64_t *ms = arg;
	struct timespec t = { (time_t)(*ms / 1000), (long)(*ms % 1000 * 1000000) };

	while (nanosleep(&t, &t) != 0)
		;
	log_fatal("stop_timeout", "after_ms=%llu", (unsigned long long)*ms);
}

void
stop_within(uint64_t ms)
{
	static uint64_t limit;
	pthread_t thread;

	limit = ms;
	notify_extend_ms(ms);
	if (pthread_create(&thread, NULL, wait_and_end, &limit) == 0)
		pthread_detach(thread);
	else
		log_event(LOG_WARN, "threads", "for=stop_timeout");
}
