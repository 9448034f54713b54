/* Flat JSON objects, one a line: written by the daemon, read by holdfastctl.
 *
 * Flat means that a value is a string, a number, true, false or null.  What is written is always valid UTF-8: other bytes become
 * U+FFFD, control characters are escaped.  Nothing here does I/O. */
#ifndef RELAY_JSON_H
#define RELAY_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Any number of objects, written one after the other.  Latches: when memory is out, failed is set and nothing more is written. */
struct json {
	char *text; /* owned; NUL terminated unless NULL */
	size_t len, cap;
	bool failed;
	bool some; /* the object under way has a field */
};

void json_begin(struct json *j);
void json_str(struct json *j, const char *key, const char *value);
void json_u64(struct json *j, const char *key, uint64_t value);
void json_bool(struct json *j, const char *key, bool value);
void json_end(struct json *j); /* and a newline */

struct json_object;
/* Adds every field of o but the one named except (may be NULL). */
void json_copy(struct json *j, const struct json_object *o, const char *except);
void json_free(struct json *j);

#define JSON_FIELDS_MAX 1024 /* the status has some 60, and 8 for each named upstream */
struct json_object {
	size_t n;
	struct {
		const char *key, *value; /* point into the line; NUL terminated, unescaped */
		bool is_string;
	} field[JSON_FIELDS_MAX];
};

/* Takes line (NUL terminated; changed) apart.  False: it is not one flat object. */
bool json_parse(char *line, struct json_object *o);
const char *json_get(const struct json_object *o, const char *key);    /* NULL: no such field */
uint64_t json_get_u64(const struct json_object *o, const char *key);   /* 0: none, or no number */
bool json_get_bool(const struct json_object *o, const char *key);      /* false: none */

#endif
