/* Whether a file is still the one, with the content, that was seen before: whoever renews it writes a new one and renames it, or writes into it. */
#ifndef RELAY_SAME_FILE_H
#define RELAY_SAME_FILE_H

#include <stdbool.h>
#include <sys/stat.h>

static inline bool
same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	       a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

#endif
