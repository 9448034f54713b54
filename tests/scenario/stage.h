/* The programs of one scenario and how they are wired: who connects to whom, through which links, with TLS or not.
 *
 *	dev (client) -> edge (linkproxy) -> relay (holdfast) -> link (linkproxy) -> up (upstream)
 *
 * is the topology "default".  A member of kind LISTENER is no program but [listener NAME] of the daemon that is its target.
 *
 * There is one stage in a process. What goes wrong here ends the scenario (fail.h). */
#ifndef TESTS_SCENARIO_STAGE_H
#define TESTS_SCENARIO_STAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/scenario/fault.h"
#include "tests/scenario/proc.h"
#include "tests/scenario/script.h"

enum member_kind { UPSTREAM, LINKPROXY, HOLDFAST, CLIENT, LISTENER };

#define WAYS_MAX 3 /* further upstreams of a daemon */

struct member {
	struct proc proc;
	enum member_kind kind;
	struct member *target; /* whom it connects to; NULL: nobody. Borrowed */
	struct member *second; /* a daemon: the next URL of its upstream; NULL: none. Borrowed */
	struct {
		char name[64];
		struct member *target; /* NULL: there is no such */
	} way[WAYS_MAX]; /* a daemon: [upstream name] */
	unsigned port;	       /* where it listens now; 0 */
	bool tls;	       /* it is a TLS server */
	bool foreign;	       /* with a certificate of an authority that nobody trusts */
	bool wanted;	       /* the script has started it, and neither stopped nor killed it */
	bool may_violate;      /* violations are part of the scenario */
	bool has_volume;       /* a daemon: its state is on a small disk (volume.h) */
	bool bad_disk;	       /* a daemon: it is baddisk, which has its orders from a file */
	struct orders *faults; /* a daemon: it is badhost, with these orders; NULL */
	bool mortal;	       /* a daemon: it may end for want of memory, and is started again */
	unsigned deaths;       /* how often it did */
	char args[TEXT_MAX];   /* further arguments */
};

#define STAGE_SKIPPED 77 /* exit status of a scenario that this system cannot play */

struct stage_options {
	const char *bin;  /* folder of the programs, NULL: beside this one */
	const char *self; /* argv[0] */
	unsigned slower;  /* all time limits are multiplied with it */
	bool keep, verbose;
};

/* Makes the private directory and goes there. */
void stage_open(const struct stage_options *o);
/* What must hold at the end of every scenario: daemons end with exit 0 on SIGTERM, nobody saw a violation, no sanitizer spoke. */
void stage_finish(void);
/* Ends what still runs and removes the directory. */
void stage_close(void);

/* Reads a scenario file that is named from where the runner was started. */
bool stage_read(struct script *s, const char *path);
/* Of a file named as on the command line, absolute; to be freed.  NULL: there is none. */
char *stage_full_path(const char *path);

struct member *stage_add(const char *name, const char *kind, const char *target, const char *second); /* targets: NULL for none */
struct member *stage_find(const char *name); /* fails when there is none */
/* The n-th member, NULL behind the last. */
struct member *stage_member(unsigned n);

/* Gives a daemon [upstream name], which is target. */
void stage_way(struct member *m, const char *name, struct member *target);

/* Whom m passes its clients on to: of a listener that is the target of the upstream that it names. */
struct member *stage_behind(const struct member *m);

/* Sets "section.name" of the daemons' configuration. */
void stage_config(const char *key, const char *value);

/* Starts one, or all that are not running (in the order they were added, which is from the upstream down); tells the links. */
void stage_start(struct member *m);
void stage_start_all(void);
/* Starts a daemon that must end by itself with exit 1, before it listens. */
void stage_refused(struct member *m);
/* Orders for the disk of a daemon; see `disk` in play.c. real: ends the scenario with STAGE_SKIPPED where it cannot have a disk. */
void stage_disk(struct member *m, const char *order, uint64_t mib, bool real);
/* Orders for the system calls of a daemon; see `fault` in play.c. */
struct fault_count stage_fault(struct member *m, char *order);
void stage_stop(struct member *m); /* a daemon: SIGTERM, and exit 0; others: quit */
void stage_ended(struct member *m); /* waits until it has ended, by itself or because it was told to, with exit 0 */
void stage_kill(struct member *m); /* kill -9 */
void stage_reload(struct member *m); /* a daemon: writes its configuration anew and sends SIGHUP */
void stage_spoil(struct member *m, uint64_t file_id, const char *table); /* see spoil.h */
void stage_damage(struct member *m, const char *file); /* overwrites a file in its state, but for the first 64 bytes */
void stage_lose(struct member *m); /* removes the state of a daemon that does not run, but for the journal of acknowledgements */

/* Says a command and reads the answer; true when it begins with "ok". A program that does not answer ends the scenario. */
bool stage_ask(struct member *m, const char *command, char answer[TEXT_MAX]);
/* ms, times slower. */
uint64_t stage_ms(uint64_t ms);

#endif
