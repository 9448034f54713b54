/* The one wait that may be under way: a condition on devices, and a deadline. */
#ifndef TESTS_CLIENT_WAIT_H
#define TESTS_CLIENT_WAIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct session;
struct wait;

struct wait *wait_new(struct event_base *base);
void wait_free(struct wait *w);

/* Begins to wait until the condition of this name holds for all n devices (borrowed until the wait ends); for "downloaded" their
 * MARKs are sent. False: there is no such condition. */
bool wait_begin(struct wait *w, struct session *const *session, size_t n, const char *condition, uint64_t ms);
bool wait_is_on(const struct wait *w);
/* To be called after each pass of the loop: true when the wait has ended, with its answer. */
bool wait_poll(struct wait *w, char *answer, size_t cap);

#endif
