/* Transcripts of sessions; see transcript.h. Never interprets a message beyond its head.
 *
 * The idea: the head is formatted again and written field by field, the one that holds the session ident as S; where that field
 * stands depends on the message (ERROR and its kin carry it fourth or third, all others first). */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <zlib.h>

#include "tests/client/session.h"
#include "tests/client/transcript.h"

bool
transcript_open(struct session *s, const char *path)
{
	transcript_close(s);
	s->transcript = fopen(path, "we");
	return s->transcript != NULL;
}

void
transcript_close(struct session *s)
{
	if (s->transcript != NULL)
		fclose(s->transcript);
	s->transcript = NULL;
}

/* Which field after the name is the session ident, from 1. */
static unsigned
ident_field(enum msg_type type)
{
	switch (type) {
	case MSG_S_ERROR:
		return 4;
	case MSG_C_JSON_ERROR:
	case MSG_S_JSON_ERROR:
	case MSG_S_QUERY_ERROR:
		return 3;
	default:
		return 1;
	}
}

/* Writes head[0..len) with S in place of field number ident_at (UINT_MAX: as it is). */
static void
put_head(FILE *out, const char *head, size_t len, unsigned ident_at)
{
	unsigned field = 0;

	for (size_t i = 0; i < len; i++) {
		if (head[i] == ' ' && ++field == ident_at)
			fputs(" S", out);
		else if (field != ident_at)
			fputc(head[i], out);
	}
}

void
transcript_add(struct session *s, char direction, const struct message *m, const void *body, size_t body_len)
{
	char head[MSG_HEAD_MAX];
	size_t len;

	if (s->transcript == NULL || m->type == MSG_C_PING || m->type == MSG_S_PONG)
		return;
	fprintf(s->transcript, "%c ", direction);
	if (m->type == MSG_S_LOG_MESSAGE) {
		fprintf(s->transcript, "%s\n", msg_name(m->type));
	} else {
		len = msg_format_head(m, head) - 1; /* without its LF */
		put_head(s->transcript, head, len, m->session_ident != 0 ? ident_field(m->type) : UINT_MAX);
		fprintf(s->transcript, " %zu %08lx\n", body_len, (unsigned long)crc32_z(0, body_len > 0 ? body : "", body_len));
	}
	fflush(s->transcript);
}
