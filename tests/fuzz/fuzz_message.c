/* Fuzz target of the message heads in protocol/message.c: a head has one reading and one spelling.
 *
 * Input: byte 0 = direction (bit 0) and flavour (bit 1), then a message.  Whatever it is, the parser's answers to its prefixes
 * must agree with its answer to the whole; what it accepts must be formatted back to the same bytes and parse again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void
must(bool condition)
{
	if (!condition)
		abort();
}

/* Parses a prefix in a block of its own, so that a read past it shows. */
static enum proto_err
parse_prefix(enum msg_dir dir, enum msg_flavour flavour, const uint8_t *buf, size_t len)
{
	uint8_t *copy = malloc(len > 0 ? len : 1);
	struct message m;
	enum proto_err err;

	must(copy != NULL);
	memcpy(copy, buf, len);
	err = msg_parse_head(dir, flavour, copy, len, &m);
	free(copy);
	return err;
}

/* More bytes turn PROTO_MORE into something else, and nothing else into anything but "too long". */
static void
check_prefixes(enum msg_dir dir, enum msg_flavour flavour, const uint8_t *buf, size_t len, enum proto_err whole)
{
	const size_t limit = dir == MSG_C2S ? MSG_HEAD_MAX_C2S : MSG_HEAD_MAX;
	enum proto_err err = PROTO_MORE;

	for (size_t n = 0; n <= len && n <= limit; n++) {
		enum proto_err before = err;

		err = parse_prefix(dir, flavour, buf, n);
		must(before == PROTO_MORE || err == before || (err == PROTO_MSG_HEAD_TOO_LONG && before != PROTO_OK));
		must(err != PROTO_MORE || n < limit);
		if (err == PROTO_OK && before == PROTO_MORE)
			must(buf[n - 1] == '\n');
	}
	must(err == whole);
}

static void
check_accepted(const struct message *m, enum msg_dir dir, enum msg_flavour flavour, const uint8_t *buf, size_t len)
{
	const uint8_t *lf = memchr(buf, '\n', len);
	char head[MSG_HEAD_MAX];
	struct message again;
	struct view body;
	enum proto_err err;

	must(lf != NULL && m->head_len == (size_t)(lf - buf) + 1);
	must(m->flavour == flavour && (m->type < MSG_S_IDENT) == (dir == MSG_C2S));
	must(msg_body_len(m) == m->body_len);
	must(strncmp(msg_name(m->type), (const char *)buf, strlen(msg_name(m->type))) == 0);
	must(msg_format_head(m, head) == m->head_len);
	must(memcmp(head, buf, m->head_len) == 0);
	err = msg_parse(dir, flavour, buf, len, &again, &body);
	must(err == (m->body_len == len - m->head_len ? PROTO_OK : PROTO_MSG_LENGTH));
	if (err == PROTO_OK)
		must(body.ptr == lf + 1 && body.len == m->body_len);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	enum msg_dir dir;
	enum msg_flavour flavour;
	struct message m;
	enum proto_err err;

	if (len < 1)
		return 0;
	dir = (data[0] & 1) != 0 ? MSG_S2C : MSG_C2S;
	flavour = (data[0] & 2) != 0 ? MSG_FLX : MSG_PBS;
	err = msg_parse_head(dir, flavour, data + 1, len - 1, &m);
	check_prefixes(dir, flavour, data + 1, len - 1, err);
	if (err == PROTO_OK)
		check_accepted(&m, dir, flavour, data + 1, len - 1);
	return 0;
}
