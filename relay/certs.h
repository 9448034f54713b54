/* Certificates and keys that are replaced while the daemon runs: TLS contexts and keys of tokens are read again when their files change, or on
 * demand. */
#ifndef RELAY_CERTS_H
#define RELAY_CERTS_H

struct event_base;
struct certs;
struct jwt_key;
struct tls_context;

struct certs *certs_new(struct event_base *base);
void certs_free(struct certs *c); /* NULL allowed; before the contexts */

/* Watches t from now on (borrowed until certs_free); NULL is ignored.  what: whose it is, for the log; lives as long as t is watched. */
void certs_watch(struct certs *c, struct tls_context *t, const char *what);
void certs_watch_jwt(struct certs *c, struct jwt_key *k, const char *what);

/* Watches t, a context or a key, no more; NULL is ignored. */
void certs_forget(struct certs *c, const void *t);

/* Reads all again, changed or not (SIGHUP). */
void certs_reload(struct certs *c);

#endif
