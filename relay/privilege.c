/* Least privilege.  Each step is its own: what a kernel does not have (Landlock before 5.19, any of it in some container) is logged and does not
 * end the daemon; what was asked for by name (user) does.
 *
 * Started as root, the daemon becomes `user` before it opens anything of its state; the one thing that it may have to do as root after that,
 * to bind a port below 1024, is left as a single capability to the main thread until it has done so.  Capabilities belong to threads (capset(2)
 * is not for the process, unlike glibc's setuid), so each thread gives up its own.
 *
 * Landlock: all of the file system is shut but what is listed in allow().  Files that are replaced by renaming are allowed by their folder, and
 * what a symbolic link leads to (certbot) by its own.  Unix sockets, descriptors that are open, and the network are not its business here.
 *
 * Secrets are in this process: it is not dumpable, so that neither a core nor another process of the same user gets at them (I9). */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "relay/log.h"
#include "relay/options.h"
#include "relay/section.h"
#include "relay/privilege.h"

#ifdef __has_include
#if __has_include(<linux/landlock.h>) && defined(SYS_landlock_create_ruleset)
#include <linux/landlock.h>
#define HAVE_LANDLOCK
#endif
#endif

#ifndef __has_feature /* clang's question, gcc's answer is a macro */
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define LEAKS_ARE_SEARCHED 1 /* by a thread that traces the others, which a process that is not dumpable forbids */
#else
#define LEAKS_ARE_SEARCHED 0
#endif

void
privilege_begin(void)
{
	static const struct rlimit none = { 0, 0 };
	struct rlimit core;

	umask(077);
	if ((getrlimit(RLIMIT_CORE, &core) != 0 || core.rlim_max != 0) && setrlimit(RLIMIT_CORE, &none) != 0)
		log_event(LOG_WARN, "core_limit", "errno=%d", errno);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		log_event(LOG_WARN, "no_new_privileges", "errno=%d", errno);
}

/* ---- capabilities ---- */

/* Leaves the calling thread these, of those it has. */
static bool
keep_capabilities(uint32_t low)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2], want[2] = { { 0 } };

	if (syscall(SYS_capget, &head, data) != 0)
		return false;
	want[0].effective = want[0].permitted = data[0].permitted & low;
	if (memcmp(data, want, sizeof(data)) == 0)
		return true; /* without a call that a filter may forbid */
	return syscall(SYS_capset, &head, want) == 0;
}

/* What an exec could bring back. */
static void
forget_inheritance(void)
{
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		(void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0); /* EPERM: not root, and then it is worth nothing */
}

void
privilege_end(void)
{
	if (!keep_capabilities(0))
		log_event(LOG_WARN, "capabilities_kept", "errno=%d", errno);
}

/* ---- the user ---- */

/* state_dir as the user's own when it is not there yet; afterwards only root could make it. */
static void
make_state_dir(const struct options *o, uid_t uid, gid_t gid)
{
	if (mkdir(o->state_dir, 0700) == 0 && chown(o->state_dir, uid, gid) != 0)
		log_fatal("state_dir", "what=chown errno=%d", errno);
}

static void
become(const struct options *o)
{
	const struct passwd *pw;
	struct log_line l;

	errno = 0;
	pw = getpwnam(o->user);
	if (pw == NULL) {
		log_begin(&l, LOG_ERROR, "user");
		log_str(&l, "user", o->user);
		log_str(&l, "reason", errno != 0 ? strerror(errno) : "there is no such user: create it, or name another one as [holdfast] user");
		log_end(&l);
		exit(1);
	}
	make_state_dir(o, pw->pw_uid, pw->pw_gid);
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0 || initgroups(o->user, pw->pw_gid) != 0 ||
	    setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) != 0 || setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) != 0)
		log_fatal("user", "what=setresuid errno=%d", errno);
	(void)prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);
	if (pw->pw_uid != 0 && setuid(0) == 0)
		log_fatal("user", "reason=\"root can be taken back\"");
}

/* ---- Landlock ---- */

#ifdef HAVE_LANDLOCK

#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14) /* ABI 3, newer than the headers of Debian 12 */
#endif

#define READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITE_FILE (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE)
#define WRITE \
	(WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR | \
	 LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_REFER)
#define HANDLED (READ | WRITE | LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK | \
		 LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_SYM)
#define ABI_REFER 2    /* before, nothing could be renamed between folders, which setting a damaged buffer aside needs */
#define ABI_TRUNCATE 3

struct lock {
	int ruleset;
	uint64_t handled;
};

/* Everything below path, if that exists. */
static void
allow(const struct lock *k, const char *path, uint64_t access)
{
	struct landlock_path_beneath_attr rule = { .allowed_access = access & k->handled };
	struct stat st;

	rule.parent_fd = open(path, O_PATH | O_CLOEXEC);
	if (rule.parent_fd < 0)
		return;
	if (fstat(rule.parent_fd, &st) == 0 && !S_ISDIR(st.st_mode)) /* a file takes no rights of folders */
		rule.allowed_access &= LANDLOCK_ACCESS_FS_READ_FILE | WRITE_FILE;
	if (syscall(SYS_landlock_add_rule, k->ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0)
		log_event(LOG_WARN, "landlock_rule", "errno=%d", errno);
	close(rule.parent_fd);
}

static void
allow_folder_of(const struct lock *k, const char *path, uint64_t access)
{
	char folder[PATH_MAX];
	char *slash;

	snprintf(folder, sizeof(folder), "%s", path);
	slash = strrchr(folder, '/');
	if (slash == NULL)
		snprintf(folder, sizeof(folder), ".");
	else
		slash[slash == folder] = '\0';
	allow(k, folder, access);
}

/* The folder that a file of the configuration is in, and the one it really is in. */
static void
allow_file(const struct lock *k, const char *path)
{
	char *real;

	if (path[0] == '\0')
		return;
	allow_folder_of(k, path, READ);
	real = realpath(path, NULL);
	if (real != NULL)
		allow_folder_of(k, real, READ);
	free(real);
}

static void
allow_files_of(const struct lock *k, const struct options *o)
{
	const char *const files[] = { o->tls_certificate, o->tls_key, o->client_ca, o->jwt_key_file, o->upstream_ca_file,
		o->upstream_certificate, o->upstream_key, o->buffer_key_file, o->service_token_file };

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		allow_file(k, files[i]);
}

static void
allow_all(const struct lock *k, const struct sections *all, const char *path)
{
	const struct options *o = &sections_global(all)->opt;
	const struct section *s;
	static const char *const system_paths[] = { "/etc", "/usr", "/lib", "/lib64", "/proc", "/sys/devices/system/cpu", "/run/systemd/resolve",
		"/dev/urandom" }; /* resolver, time zone, authorities, libraries that glibc loads late; what malloc and sanitizers look at */
	const char *const written[] = { o->control, o->log_file, o->status_file };

	for (size_t i = 0; i < sizeof(system_paths) / sizeof(system_paths[0]); i++)
		allow(k, system_paths[i], READ);
	allow(k, "/dev/null", READ | WRITE_FILE);
	allow_file(k, path);
	TAILQ_FOREACH (s, &all->list, entry)
		allow_files_of(k, &s->opt);
	allow(k, o->state_dir, READ | WRITE);
	for (size_t i = 0; i < sizeof(written) / sizeof(written[0]); i++)
		if (written[i][0] != '\0')
			allow_folder_of(k, written[i], READ | WRITE);
}

/* Returns the version of Landlock that is in force, 0 for none. */
static int
lock_files(const struct sections *all, const char *path)
{
	int abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	struct lock k = { .ruleset = -1, .handled = HANDLED };
	struct landlock_ruleset_attr attr = { 0 };
	bool locked;

	if (abi < ABI_REFER)
		return 0;
	if (abi < ABI_TRUNCATE)
		k.handled &= ~LANDLOCK_ACCESS_FS_TRUNCATE;
	attr.handled_access_fs = k.handled;
	k.ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr.handled_access_fs), 0);
	if (k.ruleset < 0)
		return 0;
	allow_all(&k, all, path);
	locked = syscall(SYS_landlock_restrict_self, k.ruleset, 0) == 0;
	close(k.ruleset);
	return locked ? abi : 0;
}

#else

static int
lock_files(const struct sections *all, const char *path)
{
	(void)all;
	(void)path;
	return 0;
}

#endif

/* ---- */

void
privilege_drop(const struct sections *all, const char *path)
{
	const struct options *o = &sections_global(all)->opt;
	int landlock = 0;

	if (geteuid() == 0) {
		forget_inheritance();
		become(o);
	} else {
		make_state_dir(o, geteuid(), getegid()); /* Landlock allows what is there */
	}
	if (!keep_capabilities(1u << CAP_NET_BIND_SERVICE))
		log_event(LOG_WARN, "capabilities_kept", "errno=%d", errno);
	if (!LEAKS_ARE_SEARCHED && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) /* changing the user has set it anew */
		log_event(LOG_WARN, "dumpable", "errno=%d", errno);
	if (o->sandbox)
		landlock = lock_files(all, path);
	log_event(o->sandbox && landlock == 0 ? LOG_WARN : LOG_INFO, "privileges", "uid=%u gid=%u landlock=%d", (unsigned)geteuid(),
		  (unsigned)getegid(), landlock);
}
