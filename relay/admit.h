/* Who may connect while the link is DOWN, and with which protocol version (design sections 4 and 7).
 *
 * While UP, admit_accepted remembers what upstream accepted: the SHA-256 of the token and, per endpoint and flavour, the version agreed
 * to.  Both are kept in the store.  A token itself is never kept (I9).  With offline_admit = signed the token is verified instead
 * (relay/jwt). */
#ifndef RELAY_ADMIT_H
#define RELAY_ADMIT_H

#include <stdbool.h>

#include "protocol/message.h"

#include "relay/link.h"
#include "relay/relay.h"
#include "relay/userid.h"

/* Upstream answered 101 for this token (empty view: none presented). */
void admit_accepted(const struct link *l, const char *endpoint, struct view token, enum msg_flavour flavour, unsigned version);

/* The upstream of l gave access, which a client may present at an upgrade that upstream will not see any more. */
void admit_issued(const struct link *l, struct view access);

/* version: the one to answer with; 0 = refused (why in words, for the log). */
typedef void admit_answer(void *arg, unsigned version, const char *why);

#define ADMIT_TOKEN_KEY 32 /* bytes: a key of STORE_TOKENS that is so long is a token's SHA-256; other things there have others */
#define ADMIT_AGREED "agreed " /* begins the keys of versions in STORE_META */
/* When the value of a token, or of a version agreed to, was last written; 0 = it does not say.  For relay/retention. */
uint64_t admit_token_time(const void *val, size_t len);
uint64_t admit_agreed_time(const void *val, size_t len);

/* Of which upstream and which user a token is; false: an older program wrote it, and it does not say. */
bool admit_token_owner(const void *val, size_t len, uint8_t scope[LINK_SCOPE], uint8_t user[USERID]);

struct admit;

/* Asks the policy.  own: the token is one of the relay's own and good (refresh.h).  certified: the client has shown a certificate, and it was verified.  offers: the client's Sec-WebSocket-Protocol values of flavour, as a bit set of versions (bit N).  The answer
 * comes from the loop, later; token must live until then, or until cancelled. */
struct admit *admit_ask(const struct front *f, const char *endpoint, struct view token, bool own, bool certified, enum msg_flavour flavour,
			uint64_t offers, admit_answer *answer, void *arg);
void admit_cancel(struct admit *a); /* NULL allowed; no answer follows */

#endif
