/* A program under test: started with pipes on its standard input and output, its standard error in a file. */
#ifndef TESTS_SCENARIO_PROC_H
#define TESTS_SCENARIO_PROC_H

#include <regex.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "tests/scenario/text.h"

#define PROC_ARGS_MAX 48
#define PROC_GONE (-1)	   /* proc_line: end of output */
#define PROC_TIMEOUT (-2) /* proc_line, proc_wait: nothing within the time */

struct proc {
	char name[32];
	char *log;	/* path of its standard error; owned; grows over all its lives */
	pid_t pid;	/* 0: not running */
	int in, out;	/* its standard input and output; -1 */
	int status;	/* as waitpid gave it; valid once it was started and pid is 0 */
	off_t seen;	/* up to here proc_expect has read the log */
	char buf[TEXT_MAX];
	size_t len;
};

uint64_t proc_now_ms(void);
/* A short rest between two looks at something. */
void proc_breathe(void);

void proc_init(struct proc *p, const char *name, const char *dir);
/* Starts argv (NULL terminated) in the working directory; false with errno. */
bool proc_start(struct proc *p, char *const argv[]);
/* Writes one line to it; false when it no longer reads. */
bool proc_say(struct proc *p, const char *line);
/* Reads one line, without its end: its length, PROC_GONE or PROC_TIMEOUT. */
int proc_line(struct proc *p, char line[TEXT_MAX], uint64_t timeout_ms);
/* Is it running? Reaps it when it is not. */
bool proc_alive(struct proc *p);
/* Waits for its end and reaps it; 0, or PROC_TIMEOUT. */
int proc_wait(struct proc *p, uint64_t timeout_ms);
/* kill -9 and reap. Does nothing when it is not running. */
void proc_kill(struct proc *p);
/* "running", "not started", "exit 1", "signal 11" */
const char *proc_state(const struct proc *p, char text[64]);

/* Waits for a line of the log after p->seen that matches, and moves p->seen behind it; line: what matched. False: time is up, or
 * it has ended without one. */
bool proc_expect(struct proc *p, const regex_t *re, uint64_t timeout_ms, char line[TEXT_MAX]);
/* Lines in the whole log that match; first: the first of them (may be NULL). */
uint64_t proc_logged(const struct proc *p, const regex_t *re, char first[TEXT_MAX]);
/* The last line of the log; false: there is none. */
bool proc_last(const struct proc *p, char line[TEXT_MAX]);
/* What is in the log now is not expected any more. */
void proc_skip_log(struct proc *p);
/* Shows on standard output the first line of the log that matches, and what follows: lines in all. False: none does. */
bool proc_show(const struct proc *p, const regex_t *re, unsigned lines);
/* Shows the last lines of the log on standard output, but none that contains the text "without". */
void proc_tail(const struct proc *p, unsigned lines, const char *without);

#endif
