/* What stands between fleet and sink: nothing (direct), or a program that is started here with a configuration of the bench's own, one worker
 * each, the same certificate. */
#ifndef TESTS_BENCH_LOAD_PROXY_H
#define TESTS_BENCH_LOAD_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <netinet/in.h>
#include <sys/types.h>

#include "tests/peer/cert.h"

/* PROXY_SLOWDISK: holdfast on a disk on which a sync takes 100 ms more (tests/baddisk).  PROXY_MOSQUITTO: for load buffer, no WebSocket. */
enum proxy_kind { PROXY_DIRECT, PROXY_BARE, PROXY_HOLDFAST, PROXY_HAPROXY, PROXY_NGINX, PROXY_SLOWDISK, PROXY_MOSQUITTO, PROXY_KINDS };

struct proxy {
	enum proxy_kind kind;
	pid_t pid;	/* 0: direct */
	unsigned port;	/* where it takes clients */
	char dir[400];	/* of its own */
};

struct proxy_setup {
	const char *dir;		/* for configurations and state */
	const struct cert_files *cert; /* NULL: plain */
	unsigned upstream_port;
	bool ack_relay;			/* holdfast acknowledges, too */
	bool durable;			/* mosquitto writes after each change */
	bool spread;			/* over all processors, not on the first alone */
	unsigned ping_ms;		/* holdfast to the server; 0: its default */
};

const char *proxy_name(enum proxy_kind kind);

/* Can it be run here? */
bool proxy_is_there(enum proxy_kind kind);

/* Starts it and waits until it listens; ends the bench when it does not. */
void proxy_start(struct proxy *p, enum proxy_kind kind, const struct proxy_setup *setup);
/* Ends it with SIGKILL. */
void proxy_stop(struct proxy *p);
/* The same, and starts it again with what it has on the disk. */
void proxy_kill_and_start(struct proxy *p, const struct proxy_setup *setup);
/* Starts one that was ended again; returns how long it took until it listened, in ms. */
double proxy_start_ms(struct proxy *p, const struct proxy_setup *setup);

/* 127.0.0.1:port. */
struct sockaddr_in proxy_loopback(unsigned port);
/* A port that nobody else is given and nobody listens on until listen() is called for the descriptor that is returned; it is the caller's.  Ends the
 * bench when there is none. */
int proxy_reserve_port(unsigned *port);

/* From now on this process and those started here may have as many descriptors as are granted, up to 65536. */
void proxy_allow_files(void);
/* The connections that this leaves: each has two ends here, and two in a proxy. */
unsigned proxy_most_conns(void);

/* Whether its log says so. */
bool proxy_logged(const struct proxy *p, const char *text);

/* From now on this process runs on one processor only (-1: the last), or on all; with one there is nothing to choose. */
void proxy_pin(int cpu);
void proxy_spread(void);

/* The path of what the build has made at `below`. */
void proxy_build_path(char *out, size_t size, const char *below);

/* Processor time it has used, in ns, of all its threads; resident bytes that are its own; 0 when it is PROXY_DIRECT. */
uint64_t proxy_cpu_ns(const struct proxy *p);
uint64_t proxy_resident(const struct proxy *p);

#endif
