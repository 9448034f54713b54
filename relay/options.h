/* The daemon's options: one struct, expanded from relay/options.def.
 *
 * Strings are owned by the struct.  Nothing here reads a file (relay/conf does) or logs.  Running out of memory ends the
 * process. */
#ifndef RELAY_OPTIONS_H
#define RELAY_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Values of the OPT_ENUM fields, in the order of their rows (log_level: enum log_level of relay/log.h). */
enum { ACK_UPSTREAM, ACK_RELAY };
enum { ADMIT_KNOWN, ADMIT_ANY, ADMIT_NONE, ADMIT_SIGNED, ADMIT_CERTIFICATE };
enum { TLS_MIN_13, TLS_MIN_12 };
enum { OFFLINE_MARK_ANSWER, OFFLINE_MARK_HOLD };
enum { OFFLINE_NEW_HOLD, OFFLINE_NEW_ADMIT };
enum { ON_RESET_HOLD, ON_RESET_PASS };
enum { BUDGET_END_OFFLINE, BUDGET_END_REPLAY, BUDGET_END_WARN };

#define OPT_CTYPE_STRING char *
#define OPT_CTYPE_BOOL bool
#define OPT_CTYPE_SIZE uint64_t
#define OPT_CTYPE_DURATION uint64_t
#define OPT_CTYPE_COUNT uint64_t

struct options {
#define OPT(section, name, type, field, def, min, max, reload, help) OPT_CTYPE_##type field;
#define OPT_ENUM(section, name, field, def, values, reload, help) int field;
#include "relay/options.def"
};

/* One identifier per row: OPTION_listen_address and so on, from 0; OPTION_COUNT of them. */
enum option_id {
#define OPT(section, name, type, field, def, min, max, reload, help) OPTION_##field,
#define OPT_ENUM(section, name, field, def, values, reload, help) OPTION_##field,
#include "relay/options.def"
	OPTION_COUNT
};

/* Sets every field to its default.  What o held is overwritten, not freed. */
void options_defaults(struct options *o);
/* Frees what o owns and zeroes it; allowed on a zeroed struct and twice. */
void options_free(struct options *o);

/* The row of [section] name, or -1; then *near is the row with the most similar name, or -1. */
int options_find(const char *section, const char *name, int *near);
/* Is there such a section?  If not, *near is the most similar one or NULL. */
bool options_has_section(const char *section, const char **near);
const char *options_section(enum option_id id);
const char *options_name(enum option_id id);
bool options_reloadable(enum option_id id);

/* Parses value into the field of id, range checked.  False with a sentence in why; the field is then as before. */
bool options_set(struct options *o, enum option_id id, const char *value, char *why, size_t why_len);

/* A value of type SIZE: "10MiB".  False: it is none. */
bool options_size(const char *text, uint64_t *bytes);

/* Checks what no single row can: pairs of options, URL, address.  Calls complain once per problem, with the option to look at
 * and the other one of a pair (or the same again). */
typedef void options_complain(void *arg, enum option_id id, enum option_id other, const char *text);
void options_check(const struct options *o, options_complain *complain, void *arg);

/* The value as a configuration file has it, in out (len bytes); cut if it is longer. */
void options_text(const struct options *o, enum option_id id, char *out, size_t len);
bool options_same(const struct options *a, const struct options *b, enum option_id id);
/* Gives o the value that from has. */
void options_copy(struct options *o, const struct options *from, enum option_id id);

/* Writes the options of a section as lines of a configuration file, each with its help, default and range as a comment, and what note (may be NULL) writes of
 * it: whole comment lines. */
typedef void options_note(void *arg, enum option_id id, FILE *out);
void options_dump(const struct options *o, const char *section, options_note *note, void *arg, FILE *out);

/* offline_versions, "2-14" or "7": false if malformed. */
bool options_versions(const char *text, unsigned *low, unsigned *high);

#endif
