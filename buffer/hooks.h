/* What libdb calls instead of open, write, fsync and rename.  Process-wide, as libdb's hooks are. */
#ifndef BUFFER_HOOKS_H
#define BUFFER_HOOKS_H

#include <sys/types.h>

#include <stdbool.h>

/* The system calls behind the hooks, with their conventions (-1 and errno).  Replaceable by tests while no store is in use. */
struct hooks_io {
	int (*open)(const char *path, int flags, ...);
	ssize_t (*write)(int fd, const void *buf, size_t len);
	int (*fsync)(int fd); /* files and directories; fdatasync is enough for both */
	int (*rename)(const char *from, const char *to);
};
extern struct hooks_io hooks_io;
extern int (*hooks_unlink)(const char *path); /* used by the store itself; libdb's has a hook of its own */

/* To be called before db_env_create.  on_fatal (may be NULL) is called before the process is aborted; the last one given counts. */
void hooks_install(void (*on_fatal)(const char *text));

/* The error number of the last failed call since hooks_forget; 0 = none failed. */
int hooks_last_error(void);
void hooks_forget(void);

bool hooks_is_full(int err); /* is err an errno that means "no space"? */

#endif
