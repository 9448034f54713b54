/* A client's request and tokens in memory and on the disk.  See credential.h.
 *
 * Never logs.  What does not fit into a value of the store (two tokens of 2 KiB each) is kept in memory only: after a restart its file
 * waits for the client or the service token, as without a key. */
#include <stdlib.h>
#include <string.h>

#include "protocol/message.h"

#include "relay/be64.h"
#include "relay/credential.h"
#include "relay/options.h"
#include "relay/relay.h"
#include "relay/spool.h"
#include "relay/upstream.h"

#define NPART 5

static void
parts(struct credential *k, char **part[NPART])
{
	part[0] = &k->target;
	part[1] = &k->protocol;
	part[2] = &k->authorization;
	part[3] = &k->user_agent;
	part[4] = &k->token;
}

void
credential_take(struct credential *k, const struct upstream_request *req, struct view token)
{
	k->target = relay_strndup(req->target.ptr, req->target.len);
	k->protocol = relay_strndup(req->protocol.ptr, req->protocol.len);
	k->authorization = relay_strndup(req->authorization.ptr, req->authorization.len);
	k->user_agent = relay_strndup(req->user_agent.ptr, req->user_agent.len);
	k->token = relay_strndup(token.ptr, token.len);
}

void
credential_wipe(struct credential *k)
{
	char **part[NPART];

	parts(k, part);
	for (int i = 0; i < NPART; i++) {
		relay_wipe(*part[i]);
		*part[i] = NULL;
	}
}

bool
credential_known(const struct credential *k)
{
	return k->target != NULL;
}

void
credential_request(const struct credential *k, struct upstream_request *req)
{
	*req = (struct upstream_request){ .target = view_of(k->target),
		.protocol = view_of(k->protocol),
		.authorization = view_of(k->authorization),
		.user_agent = view_of(k->user_agent),
		.flavour = MSG_PBS };
}

/* ---- on the disk ---- */

void
credential_key(uint8_t key[CREDENTIAL_KEY], uint64_t file_id)
{
	key[0] = 'r';
	be64_put(key + 1, file_id);
}

bool
credential_is_key(const void *key, size_t len, uint64_t *file_id)
{
	const uint8_t *p = key;

	if (len != CREDENTIAL_KEY || p[0] != 'r')
		return false;
	*file_id = be64_get(p + 1);
	return true;
}

size_t
credential_pack(const struct credential *k, uint8_t out[STORE_VALUE_MAX])
{
	struct credential copy = *k;
	char **part[NPART];
	size_t at = 2 * NPART;

	parts(&copy, part);
	for (int i = 0; i < NPART; i++) {
		size_t len = strlen(*part[i]);

		if (len > STORE_VALUE_MAX - at)
			return 0;
		out[2 * i] = (uint8_t)(len >> 8);
		out[2 * i + 1] = (uint8_t)len;
		memcpy(out + at, *part[i], len);
		at += len;
	}
	return at;
}

bool
credential_unpack(struct credential *k, const uint8_t *in, size_t len)
{
	size_t at = 2 * NPART, n[NPART], sum = at;
	char **part[NPART];

	memset(k, 0, sizeof(*k));
	if (len < at)
		return false;
	for (int i = 0; i < NPART; i++) {
		n[i] = (size_t)in[2 * i] << 8 | in[2 * i + 1];
		sum += n[i];
	}
	if (sum != len || memchr(in + at, '\0', len - at) != NULL)
		return false;
	parts(k, part);
	for (int i = 0; i < NPART; at += n[i++])
		*part[i] = relay_strndup(in + at, n[i]);
	return true;
}

bool
credential_may_store(const struct relay *relay)
{
	return relay->opt->store_tokens && relay->opt->buffer_key_file[0] != '\0';
}

void
credential_store(struct relay *relay, uint64_t file_id, const struct credential *k)
{
	uint8_t key[CREDENTIAL_KEY], val[STORE_VALUE_MAX];
	size_t len = credential_pack(k, val);

	credential_key(key, file_id);
	if (len > 0)
		spool_put(relay->spool, STORE_TOKENS, (struct view){ key, sizeof(key) }, (struct view){ val, len });
	else
		credential_drop(relay, file_id); /* an older one is none */
	explicit_bzero(val, sizeof(val));
}

/* An empty value in its place: that it is in one line with the stores before and behind it, a deletion (spool_call) is not.
 * relay/retention removes it. */
void
credential_drop(struct relay *relay, uint64_t file_id)
{
	uint8_t key[CREDENTIAL_KEY];

	if (!credential_may_store(relay) || file_id == 0)
		return;
	credential_key(key, file_id);
	spool_put(relay->spool, STORE_TOKENS, (struct view){ key, sizeof(key) }, (struct view){ NULL, 0 });
}
