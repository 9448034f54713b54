/* What other programs and people may see without the control socket ([monitor] listen), by HTTP:
 *
 *   /metrics       the figures as Prometheus text, one sample each, no labels but the version's
 *   /healthz       200 while the loop and the committer are alive, else 503
 *   /readyz        200 while clients are accepted and uploads taken, else 503
 *   /status.json   the figures, as holdfastctl --json status has them
 *   /history.json  the backlog of the last 24 hours
 *   /              a page that shows all this and keeps itself up to date
 *
 * Only looks: there is no request that changes anything, and no figure is a secret (I9).  GET only, no body; a connection is closed after
 * its answer, when that is not done handshake_timeout after the accept, or when its request is larger than MONITOR_REQUEST_MAX. */
#ifndef RELAY_MONITOR_H
#define RELAY_MONITOR_H

#include <stddef.h>

#define MONITOR_CONNS 16
#define MONITOR_REQUEST_MAX 8192 /* what a browser sends is a tenth of it */

struct monitor;
struct relay;

/* address as in address_parse.  NULL with a sentence in why. */
struct monitor *monitor_open(struct relay *relay, const char *address, char *why, size_t why_len);
void monitor_close(struct monitor *m); /* NULL allowed */

extern const char monitor_page[]; /* monitor_page.c: the page, HTML in UTF-8 */

#endif
