/* Users' names as short hashes; see userid.h.  Pure. */
#include <string.h>

#include "protocol/hex.h"

#include "relay/ident.h"
#include "relay/refresh.h"
#include "relay/tls.h"
#include "relay/userid.h"

static const uint8_t nobody[USERID];

void
userid_of_name(struct view name, uint8_t id[USERID])
{
	uint8_t hash[32];

	memcpy(id, nobody, USERID);
	if (name.len == 0)
		return;
	tls_sha256(name.ptr, name.len, hash);
	memcpy(id, hash, USERID);
}

void
userid_of_token(struct view token, uint8_t id[USERID])
{
	uint8_t payload[IDENT_PAYLOAD_MAX];

	userid_of_name(ident_subject(refresh_bare(token), payload), id);
	explicit_bzero(payload, sizeof(payload));
}

bool
userid_known(const uint8_t id[USERID])
{
	return memcmp(id, nobody, USERID) != 0;
}

bool
userid_same(const uint8_t a[USERID], const uint8_t b[USERID])
{
	return userid_known(a) && memcmp(a, b, USERID) == 0;
}

void
userid_text(const uint8_t id[USERID], char text[USERID_TEXT])
{
	hex_text(id, USERID, text);
}

bool
userid_parse(struct view text, uint8_t id[USERID])
{
	return text.len == USERID_TEXT - 1 && hex_bytes(text.ptr, USERID, id);
}
