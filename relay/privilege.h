/* What the process may do, given up step by step: user, capabilities, core dumps, and with Landlock the file system.
 *
 *   privilege_begin    at once: umask, no core, no new privileges
 *   privilege_drop     options are read, certificates as well: another user (if root), Landlock; nothing of state_dir is open yet, no thread runs
 *   privilege_end      in each thread, when it needs nothing more: no capabilities (until then one may be left: to bind a port below 1024) */
#ifndef RELAY_PRIVILEGE_H
#define RELAY_PRIVILEGE_H

struct sections;

void privilege_begin(void);

/* Logs event=privileges; ends the process when the user cannot be taken on.  path: of the configuration. */
void privilege_drop(const struct sections *all, const char *path);

/* For the calling thread. */
void privilege_end(void);

#endif
