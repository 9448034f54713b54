/* Memory: how much the limits allow in all, and the one limit that is kept by looking at everybody (max_queued; I6). */
#ifndef RELAY_BUDGET_H
#define RELAY_BUDGET_H

#include <stdint.h>

struct relay;
struct sections;

/* What the daemon needs at most, by what; bytes. */
struct budget {
	uint64_t base;	      /* program, libraries, threads, caches of OpenSSL and the allocator */
	uint64_t connections; /* without what they send */
	uint64_t sessions;
	uint64_t services; /* users and HTTP requests of apps; 0 without api_url */
	uint64_t queued; /* messages and what waits to be sent */
	uint64_t spool;	 /* on the way to the disk, with one UPLOAD that is being unpacked, and batches on the way back */
	uint64_t database;
	uint64_t total;
};

struct budget budget_of(const struct sections *all);
/* event=memory_budget, in MiB. */
void budget_log(const struct sections *all);

/* End of pass: while more than max_queued is held, whoever holds most is closed. */
void budget_pass(struct relay *relay);

#endif
