/* The service token: what the relay shows upstream on its own account, for clients whose token it does not have (option service_token_file).
 *
 * Its file is looked at each second, and read when it changed (inode, size, time): whoever renews it writes a new file and renames it.  A file
 * that cannot be used leaves no token: an old one is not kept beyond the operator's wish.  It is a secret (I9). */
#ifndef RELAY_SERVICE_H
#define RELAY_SERVICE_H

#include "protocol/message.h"

struct link;
struct service;
struct upstream;
struct upstream_ops;

struct service *service_new(struct link *link); /* of each upstream */
void service_free(struct service *sv); /* NULL allowed */

/* Looks now, as each second: at another file, if the option names another. */
void service_look(struct service *sv);

/* Rises with each new content; 0 while there is no token that can be used. */
unsigned service_serial(const struct service *sv);
/* The token, NUL terminated; "" when there is none.  Lives until the next look. */
const char *service_token(const struct service *sv);

/* Opens upstream for a client of endpoint (link_endpoint) with the token. */
struct upstream *service_connect(struct service *sv, const char *endpoint, enum msg_flavour flavour, const struct upstream_ops *ops,
				 void *arg);

#endif
