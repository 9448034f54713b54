/* Timers for what there are thousands of: 32 bytes each where an event of libevent's takes 160 and a place in its heap.
 *
 * A timer is a member of what it is for.  It is set or not; once it has fired it is not.  One loop, one thread. */
#ifndef RELAY_TIMER_H
#define RELAY_TIMER_H

#include <stdbool.h>
#include <stdint.h>

struct event_base;
struct timers;

struct timer { /* timer.c's own */
	void (*fn)(void *arg);
	void *arg;
	uint64_t due_ms; /* clock_now_ms */
	uint32_t place;	 /* among those that are set; 0: it is not */
};

/* base is borrowed and outlives them.  Ends the process when memory is out, here and in timer_set. */
struct timers *timers_new(struct event_base *base);
void timers_free(struct timers *ts); /* NULL allowed; what is still set never fires */

/* Prepares t, which is not set.  fn is called from the loop; it may set and stop any timer, t itself included. */
void timer_init(struct timer *t, void (*fn)(void *arg), void *arg);
/* fn(arg) will be called once, in ms milliseconds or a little later, whatever t was set to before. */
void timer_set(struct timers *ts, struct timer *t, uint64_t ms);
/* When it fires, by clock_now_ms; nothing that counts when it is not set. */
uint64_t timer_due_ms(const struct timer *t);
/* t, which stays where it is as long as it is set, will not fire. */
void timer_stop(struct timers *ts, struct timer *t);

#endif
