/* What the configuration files say, section by section, and what that makes for each listener and each upstream.
 *
 * There is one struct options for each [listener NAME] and each [upstream NAME], and one for the rest.  Every section owns the options that
 * may stand in it, and sections_combine() gives it the others as they hold for it: a listener those of its upstream, an upstream those of
 * the first listener that names it, and all of them the rest.  So whoever serves a listener or an upstream has all it needs in one struct.
 *
 * Pure but for running out of memory, which ends the process. */
#ifndef RELAY_SECTION_H
#define RELAY_SECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/queue.h>

#include "relay/options.h"

#define SECTION_NAME_MAX 32 /* bytes; letters, digits, - and _: it is part of keys on the disk, of file formats and of metrics */
#define SECTION_TITLE_MAX (SECTION_NAME_MAX + 16)
#define SECTIONS_MAX 64 /* listeners and upstreams together: nobody has so many by hand */

enum section_kind { SECTION_GLOBAL, SECTION_LISTENER, SECTION_UPSTREAM };

struct section {
	TAILQ_ENTRY(section) entry;
	enum section_kind kind;
	char name[SECTION_NAME_MAX + 1]; /* "": it has none */
	struct options opt;		 /* owned; where it lies does not change */
	struct section *upstream;	 /* a listener's; borrowed */
	struct {
		char *path; /* owned; NULL: it has its default */
		unsigned line;
	} origin[OPTION_COUNT]; /* of the options that it owns */
};

TAILQ_HEAD(section_list, section);

struct sections {
	struct section_list list; /* in the order of the files, unnamed ones and the global one first */
	size_t n;
};

/* Holds the global section, with its defaults. */
void sections_init(struct sections *all);
void sections_free(struct sections *all); /* allowed on a zeroed struct and twice */

/* Adds a section with its defaults. */
struct section *sections_add(struct sections *all, enum section_kind kind, const char *name);
/* Takes s off; it is whoever calls that owns it now. */
void sections_remove(struct sections *all, struct section *s);
void section_free(struct section *s);
/* NULL: there is none. */
struct section *sections_find(const struct sections *all, enum section_kind kind, const char *name);
struct section *sections_global(const struct sections *all);
/* The first of that kind behind s (NULL: of all); NULL at the end. */
struct section *sections_next(const struct sections *all, const struct section *s, enum section_kind kind);

/* The kind of section that an option stands in. */
enum section_kind section_owner(enum option_id id);
/* "listener", "listener NAME", or for the global one what stands over id. */
void section_title(const struct section *s, enum option_id id, char out[SECTION_TITLE_MAX]);
bool section_name_ok(const char *name);
/* Whether two listeners are to listen at one place, which cannot be; port 0 is another one each time. */
bool section_same_address(const struct section *a, const struct section *b);

/* Gives to the options that s owns the values of from; with reloadable_only only those that a reload may change. */
void section_take(struct section *s, const struct options *from, bool reloadable_only);
/* Listeners know their upstreams: each section gets the options that it does not own. */
void sections_combine(struct sections *all);

/* Checks what no single option can, once each.  s: the section that id belongs to, or the listener whose upstream's it is. */
typedef void section_complain(void *arg, const struct section *s, enum option_id id, enum option_id other, const char *text);
void sections_check(const struct sections *all, section_complain *complain, void *arg);

/* Writes all sections as a configuration file; origins: with the file and line of each option as a comment. */
void sections_dump(const struct sections *all, bool origins, FILE *out);

#endif
