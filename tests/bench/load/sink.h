/* The sync server of the bench: takes what comes, acknowledges each UPLOAD at once by an empty DOWNLOAD, keeps nothing but how far each
 * client file is. */
#ifndef TESTS_BENCH_LOAD_SINK_H
#define TESTS_BENCH_LOAD_SINK_H

#include <stdbool.h>
#include <stdint.h>

struct sink;

/* Listens on a free port of 127.0.0.1.  Files have the idents 1 to nfiles.  loop_open comes first. */
struct sink *sink_new(unsigned nfiles);
void sink_free(struct sink *s);
unsigned sink_port(const struct sink *s);

/* The link is cut: every connection, and nothing listens at its port until sink_open. */
void sink_cut(struct sink *s);
void sink_open(struct sink *s);

/* All start from nothing again. */
void sink_forget(struct sink *s);

struct sink_count {
	uint64_t connections; /* accepted */
	uint64_t uploads;     /* UPLOAD messages */
	uint64_t bytes_in, bytes_out;
};
/* Since the start; lives as long as s. */
const struct sink_count *sink_count(const struct sink *s);

/* The newest client version of a file that came. */
uint64_t sink_held(const struct sink *s, unsigned file_ident);

/* Whether a session of it is here. */
bool sink_is_bound(const struct sink *s, unsigned file_ident);

#endif
