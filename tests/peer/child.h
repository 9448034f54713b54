/* A test program that is driven by lines: started with pipes, asked on stdin, answering on stdout. */
#ifndef TESTS_PEER_CHILD_H
#define TESTS_PEER_CHILD_H

#include <stdbool.h>
#include <stddef.h>

struct child;

/* Starts the peer program (tests/NAME/NAME, found beside the running test) with these arguments, NULL terminated; argv[0] is put
 * in front.  NULL when it cannot be started. */
struct child *child_start(const char *name, const char *const args[]);

/* The next line without its LF; lives until the next call.  NULL at the end of its output, or after 10 s. */
const char *child_line(struct child *c);

/* Says a line and returns the answer, passing over event lines ("* ..."); NULL as above. */
__attribute__((format(printf, 2, 3))) const char *child_ask(struct child *c, const char *fmt, ...);

/* Says quit, waits for the end (kills after 10 s), frees c.  Returns true when it ended with status 0. */
bool child_stop(struct child *c);

/* Ends it with SIGKILL, in the middle of whatever it does; frees c. */
void child_kill(struct child *c);

#endif
