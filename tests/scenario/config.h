/* The daemons' configuration in a scenario: defaults that make time pass quickly, changed by "config" lines. */
#ifndef TESTS_SCENARIO_CONFIG_H
#define TESTS_SCENARIO_CONFIG_H

#include <stdbool.h>

/* key: "section.name", or "section.NAME.name" for [section NAME]. A later value replaces an earlier one; an empty one removes the key. False: no such form, or too many. */
bool config_set(const char *key, const char *value);
/* The value of a key; "" if there is none.  Lives until it is set again. */
const char *config_get(const char *key);
/* Gives [section NAME] what [section] has now, for it to be changed. */
bool config_inherit(const char *section, const char *name);
/* Writes the file; false with errno. */
bool config_write(const char *path);

#endif
