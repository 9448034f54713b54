/* Whom a token is of, as it is kept on the disk: never in clear, and always in the same few bytes.
 *
 * The user is the claim "sub" of the token's payload (ident_subject), which upstream accepted or the admission policy knows.  A token without one
 * says nothing about its user: no user. */
#ifndef RELAY_USERID_H
#define RELAY_USERID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/view.h"

#define USERID 16		   /* bytes: the begin of a SHA-256; all zero: no user */
#define USERID_TEXT (2 * USERID + 1) /* hex digits and NUL */

void userid_of_name(struct view name, uint8_t id[USERID]); /* an empty name: none */
void userid_of_token(struct view token, uint8_t id[USERID]); /* "Bearer " in front or not */
bool userid_known(const uint8_t id[USERID]);
bool userid_same(const uint8_t a[USERID], const uint8_t b[USERID]); /* and known */

void userid_text(const uint8_t id[USERID], char text[USERID_TEXT]);
bool userid_parse(struct view text, uint8_t id[USERID]); /* false: it is no such text */

#endif
