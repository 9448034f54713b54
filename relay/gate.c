/* The gate: counts connections by address and handshakes in flight, for connections that have shown nothing yet.
 *
 * Never looks at a descriptor, never closes anything: relay/conn asks.
 *
 * The idea: two ways to shut others out without a token.  Many connections from one place: counted per address in a hash table, whose keys
 * are mixed with a random number, so that nobody can choose addresses that fall into one bucket.  Connections that stall before they
 * have asked for anything: their number is bounded, and half of the places are given for a third of the time only, so that at the worst a
 * newcomer waits so long. */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "relay/flood.h"
#include "relay/gate.h"
#include "relay/log.h"
#include "relay/options.h"
#include "relay/relay.h"
#include "relay/tls.h"

#define BUCKETS 4096 /* 32 KiB of pointers; two or three addresses in each at max_connections = 10000 */
#define KEY_LEN 9    /* family, then 4 or 8 bytes */

struct gate_address {
	struct gate_address *next;
	uint8_t key[KEY_LEN];
	uint64_t count;
};

struct gate {
	const struct options *opt;
	uint64_t seed;
	uint64_t handshakes;
	struct flood told;
	struct gate_address *bucket[BUCKETS];
};

struct gate *
gate_new(const struct options *opt)
{
	struct gate *g = relay_alloc(sizeof(*g));

	g->opt = opt;
	tls_random(&g->seed, sizeof(g->seed));
	return g;
}

void
gate_free(struct gate *g)
{
	free(g);
}

static void
key_of(const struct sockaddr *peer, uint8_t key[KEY_LEN])
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)peer;

	memset(key, 0, KEY_LEN);
	key[0] = (uint8_t)peer->sa_family;
	if (peer->sa_family == AF_INET) {
		memcpy(key + 1, &((const struct sockaddr_in *)peer)->sin_addr, 4);
	} else if (peer->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) { /* at a socket for both: [::ffff:1.2.3.4] */
		key[0] = AF_INET;
		memcpy(key + 1, in6->sin6_addr.s6_addr + 12, 4);
	} else if (peer->sa_family == AF_INET6) {
		memcpy(key + 1, in6->sin6_addr.s6_addr, 8);
	}
}

static struct gate_address **
bucket_of(struct gate *g, const uint8_t key[KEY_LEN])
{
	uint64_t h = g->seed;

	for (size_t i = 0; i < KEY_LEN; i++) {
		h = (h ^ key[i]) * 0x9e3779b97f4a7c15; /* 2^64 / golden ratio, odd: spreads each byte over all bits above it */
		h ^= h >> 29;
	}
	return &g->bucket[h % BUCKETS];
}

struct gate_address *
gate_enter(struct gate *g, const struct sockaddr *peer)
{
	uint8_t key[KEY_LEN];
	struct gate_address *a, **bucket;

	key_of(peer, key);
	bucket = bucket_of(g, key);
	for (a = *bucket; a != NULL && memcmp(a->key, key, KEY_LEN) != 0; a = a->next)
		;
	if (a != NULL && a->count >= g->opt->max_per_address) {
		if (flood_ok(&g->told, FLOOD_STRANGERS, FLOOD_STRANGERS_MS))
			log_event(LOG_WARN, "address_full", "max=%llu suppressed=%llu", (unsigned long long)g->opt->max_per_address,
				  (unsigned long long)flood_dropped(&g->told));
		return NULL;
	}
	if (a == NULL) {
		a = relay_alloc(sizeof(*a));
		memcpy(a->key, key, KEY_LEN);
		a->next = *bucket;
		*bucket = a;
	}
	a->count++;
	g->handshakes++;
	return a;
}

void
gate_leave(struct gate *g, struct gate_address *from)
{
	struct gate_address **at;

	if (--from->count > 0)
		return;
	for (at = bucket_of(g, from->key); *at != from; at = &(*at)->next)
		;
	*at = from->next;
	free(from);
}

void
gate_shaken(struct gate *g)
{
	if (g->handshakes == 0)
		PANIC("more handshakes ended than began");
	g->handshakes--;
}

bool
gate_is_shut(const struct gate *g)
{
	return g->handshakes >= g->opt->max_handshakes;
}

uint64_t
gate_patience_ms(const struct gate *g)
{
	uint64_t ms = g->opt->handshake_timeout_ms;

	return g->handshakes > g->opt->max_handshakes / 2 && ms >= 3 ? ms / 3 : ms;
}
