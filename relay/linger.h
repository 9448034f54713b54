/* How long the uploads of an upstream linger in memory before they are written (ack = upstream, link UP; design section 5).
 *
 * A fixed time would be wrong for most: over a satellite each acknowledgement takes longer than 50 ms, and every change would be written only to
 * be removed again.  So it follows the time that acknowledgements take, smoothed as TCP does it for its timer (RFC 6298: SRTT + 4 RTTVAR), between
 * the options linger and linger_max. */
#ifndef RELAY_LINGER_H
#define RELAY_LINGER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct file;
struct options;

TAILQ_HEAD(linger_list, file);

struct lingering { /* of one link */
	struct linger_list files; /* whose tails linger, nearly oldest first: what was acknowledged does not move them; file.c's */
	struct linger_list due;	  /* whose tails are posted at the end of this pass; file.c's, too */
	bool measured;
	uint64_t smoothed8, deviation4; /* ms, times 8 and 4 */
};

void linger_init(struct lingering *l);

/* An upload was acknowledged took_ms after it was taken. */
void linger_learn(struct lingering *l, uint64_t took_ms);

/* Milliseconds that a tail may linger, as of now. */
uint64_t linger_ms(const struct lingering *l, const struct options *o);

#endif
