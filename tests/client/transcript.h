/* The record of a session's messages in a form that is the same whatever session idents were used (see commands.c: transcript). */
#ifndef TESTS_CLIENT_TRANSCRIPT_H
#define TESTS_CLIENT_TRANSCRIPT_H

#include <stdbool.h>
#include <stddef.h>

#include "protocol/message.h"

struct session;

/* Starts a new file; false with errno when it cannot be made. NULL stops. */
bool transcript_open(struct session *s, const char *path);
void transcript_close(struct session *s);

/* One line "> HEAD LEN CRC" (sent) or "< HEAD LEN CRC" (received): head with the session ident as S, bytes and CRC-32 of the body.
 * PING and PONG are left out; of LOG_MESSAGE only the name, because its text names idents. Nothing when no file is open. */
void transcript_add(struct session *s, char direction, const struct message *m, const void *body, size_t body_len);

#endif
