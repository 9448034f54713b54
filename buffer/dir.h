/* The directory under an environment: see dir.c.  Used by env.c and ladder.c. */
#ifndef BUFFER_DIR_H
#define BUFFER_DIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer/store.h"

struct dir {
	char *path; /* as given; owned */
	int fd, lock_fd;
	uint64_t ballast_bytes; /* 0: none wanted */
	bool ballast_there;
};

/* Creates the directory if it is missing, and closes it to everybody else.  d->path must be set, both descriptors -1; errors are
 * told in why. */
STORE_MUSTCHECK enum store_err dir_open(struct dir *d, char *why, size_t why_len);

/* Takes the lock and leaves our process id in it for whoever comes too late. */
STORE_MUSTCHECK enum store_err dir_lock(struct dir *d, char *why, size_t why_len);

/* All files private, and what is visible of them also on stable storage. */
STORE_MUSTCHECK enum store_err dir_settle(struct dir *d, char *why, size_t why_len);

void dir_close(struct dir *d);

/* Calls each for every name until it returns non-zero (an error number), and returns that. */
int dir_each(const struct dir *d, int (*each)(void *arg, int dir_fd, const char *name), void *arg);

/* Bytes of disk that its files take, and its logs of them. */
STORE_MUSTCHECK enum store_err dir_bytes(const struct dir *d, uint64_t *all, uint64_t *logs);
uint64_t dir_free(const struct dir *d); /* UINT64_MAX: cannot be told */

/* The number in the name of a log file; 0: it is none. */
uint32_t dir_log_number(const char *name);

/* The mark of damage: a file that says that pages of the environment were found damaged, and the names of the directories that the
 * ladder has set tables aside in since. */
enum dir_mark { DIR_SOUND, DIR_DAMAGED, DIR_MOVED };
enum dir_mark dir_marked(const struct dir *d);
/* Marks d, if it is not; adds aside to the names unless it is "".  False: could not, see errno. */
bool dir_mark(const struct dir *d, const char *aside);
/* The i-th name; false: there are no more. */
bool dir_mark_aside(const struct dir *d, unsigned i, char *out, size_t cap);
/* Moves the mark into the directory aside, or, with "", away. */
bool dir_unmark(const struct dir *d, const char *aside);

/* The ballast: is it there (or none wanted); give it up (false: there was none); make it, if that leaves keep_free. */
bool dir_ballast(const struct dir *d);
bool dir_ballast_drop(struct dir *d);
void dir_ballast_make(struct dir *d, uint64_t keep_free);

#endif
