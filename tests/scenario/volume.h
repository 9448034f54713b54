/* A small disk of its own for a daemon: a tmpfs, seen by this scenario and its programs only, and gone with it. */
#ifndef TESTS_SCENARIO_VOLUME_H
#define TESTS_SCENARIO_VOLUME_H

#include <stdbool.h>
#include <stdint.h>

/* Mounts one of so many MiB on dir, which is made. False: this system does not allow it (errno). */
bool volume_mount(const char *dir, uint64_t mib);
/* Takes all its space with one file, or gives that back. */
void volume_fill(const char *dir, bool full);

#endif
