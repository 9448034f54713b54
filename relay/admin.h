/* What an operator may do to the buffer, as requests of words with answers in JSON: relay/CONTROL describes each.
 *
 * Each request is one small step on the store, so that the committer can do it between two groups of commits; holdfastctl strings the
 * steps together.  The daemon runs them in the committer thread (control.c), holdfastctl runs the very same ones itself on a
 * buffer that no daemon has open.  Nothing here waits, logs or keeps state between requests, but for store_hold. */
#ifndef RELAY_ADMIN_H
#define RELAY_ADMIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer/store.h"

#include "relay/json.h"

#define ADMIN_WORDS_MAX 16
/* Bytes that may come with a request: a slice, or one record; an UPLOAD inflates to 64 MiB by default (max_inflated). */
#define ADMIN_DATA_MAX (80u << 20)

struct admin_request {
	size_t nword;
	const char *word[ADMIN_WORDS_MAX]; /* the operation and its arguments */
	const uint8_t *data;
	size_t len;
};

struct admin_answer {
	struct json rows; /* any number of objects */
	struct json last; /* the final object: status, error, what the operation says, and data: the bytes that follow */
	uint8_t *data;
	size_t len, cap;
	struct store_file touched; /* id not 0: its session must start anew, what it knows of the file is out of date */
	struct store_file forgotten; /* id not 0: it was taken out, and nothing outside the store may know it any longer */
	bool states_gone; /* and with it the STATE sets of its path */
	bool ok;
};

/* Zeroes and fills a; free it in every case. */
void admin_run(struct store *s, const struct admin_request *q, struct admin_answer *a);
/* A final object that says no. */
void admin_refuse(struct admin_answer *a, const char *why);
void admin_free(struct admin_answer *a);

/* The state of a file in a word: ok, rejected, conflict, lost, differs, restored, exported, importing. */
const char *admin_state_name(enum store_file_state state);

#endif
