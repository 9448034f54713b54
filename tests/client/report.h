/* What commands show of a device: a line of status, files of changesets. */
#ifndef TESTS_CLIENT_REPORT_H
#define TESTS_CLIENT_REPORT_H

#include <stdbool.h>
#include <stddef.h>

struct session;

#define REPORT_LINE_MAX 1024 /* bytes with NUL */

/* state=... ident=... : all about one device. */
void report_status(const struct session *s, char *line);
/* Totals over n devices. */
void report_totals(struct session *const *s, size_t n, char *line);

/* content=... newest=... : what the device's own changesets come to (peer/content.h), and the version of the last. */
void report_content(const struct session *s, char *line);

/* One line "CLIENT_VERSION LEN CRC" for each own changeset that was acknowledged (all: that was written). False with errno. */
bool report_acked(const struct session *s, const char *path, bool all);
/* One line "SERVER_VERSION ORIGIN_FILE_IDENT CRC LEN" for each changeset received, in order. False with errno. */
bool report_received(const struct session *s, const char *path);

#endif
