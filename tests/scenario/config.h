/* The daemons' configuration in a scenario: defaults that make time pass quickly, changed by "config" lines. */
#ifndef TESTS_SCENARIO_CONFIG_H
#define TESTS_SCENARIO_CONFIG_H

#include <stdbool.h>

/* key: "section.name". A later value replaces an earlier one; an empty one removes the key. False: no such form, or too many. */
bool config_set(const char *key, const char *value);
/* Writes the file; false with errno. */
bool config_write(const char *path);

#endif
