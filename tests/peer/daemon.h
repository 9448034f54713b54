/* A holdfast of its own for a unit test: started from a configuration given as text, its log read while it runs. */
#ifndef TESTS_PEER_DAEMON_H
#define TESTS_PEER_DAEMON_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct daemon {
	pid_t pid;	/* -1: does not run */
	unsigned port;	/* where it listens */
	char dir[400];	/* holds holdfast.ini, log and state */
	char line[2048]; /* see daemon_logged */
};

/* Is the program there?  Else SKIP. */
bool daemon_is_built(void);
/* The path of holdfastctl; lives until the next call of any function here. */
const char *daemon_ctl(void);

/* Before daemon_start: these lines, with their sections, are read behind the configuration in dir (conf.d). */
bool daemon_also(const char *dir, const char *lines);

/* Starts it in dir with this configuration, to which [holdfast] state_dir and a listener on 127.0.0.1:0 are added in front; config goes on
 * inside of [listener].  Waits until it listens.  False: it does not (the log is printed). */
bool daemon_start(struct daemon *d, const char *dir, const char *config);

/* The same on a machine that does as orders says (badhost.h), a file's path; NULL: on this one. */
bool daemon_start_with(struct daemon *d, const char *dir, const char *config, const char *orders);

/* The same on a disk that does what the word in a file says (tests/baddisk), whose path is disk. */
bool daemon_start_on(struct daemon *d, const char *dir, const char *config, const char *disk);

/* A line of the log that holds text, waiting up to 10 s for it; NULL: there is none.  Lives until the next call. */
const char *daemon_logged(struct daemon *d, const char *text);
/* How many lines of the log hold text now. */
unsigned daemon_count(const struct daemon *d, const char *text);

/* Its peak of resident memory in bytes; 0 when that cannot be read. */
size_t daemon_peak(const struct daemon *d);

/* Ends it by SIGTERM; true when it exited with status 0 within 10 s.  Nothing to do when it does not run. */
bool daemon_stop(struct daemon *d);
/* Ends it by SIGKILL, in the middle of whatever it does. */
void daemon_kill(struct daemon *d);

#endif
