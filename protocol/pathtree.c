/* The tree of names: nodes, their hash table and their bound. What is known of a node and when it may be forgotten is the business of
 * pre-merge (premerge.c); nothing here knows a rule.
 *
 * The hash is fixed, so a device could choose names that collide. It gains nothing: a chain of CHAIN_MAX nodes is answered like the
 * bound of memory, by forgetting everything, which costs that device a few drops. */
#include "protocol/pathtree.h"

#include <stdlib.h>
#include <string.h>

#define CHAIN_MAX 48   /* nodes in a bucket; at one a bucket on average, chance does not come near */
#define BUCKETS_MIN 64 /* a power of 2 */

static uint64_t
mix(uint64_t h, uint64_t word)
{
	h = (h ^ word) * 0x9e3779b97f4a7c15u;
	return h ^ h >> 29;
}

static uint64_t
hash_of(const struct pathnode *parent, const struct pathname *name)
{
	uint64_t h = mix(parent->hash, name->bytes.len << 8 | name->tag), word;
	size_t at = 0;

	for (; name->bytes.len - at >= sizeof(word); at += sizeof(word)) {
		memcpy(&word, name->bytes.ptr + at, sizeof(word));
		h = mix(h, word);
	}
	word = 0;
	if (name->bytes.len > at)
		memcpy(&word, name->bytes.ptr + at, name->bytes.len - at);
	return mix(h, word);
}

static size_t
weight(const struct pathnode *n)
{
	return sizeof(*n) + n->len;
}

static struct pathnode **
bucket_of(const struct pathtree *t, uint64_t hash)
{
	return &t->bucket[(hash ^ hash >> 32) & (t->nbuckets - 1)];
}

struct pathnode *
pathtree_find(const struct pathtree *t, const struct pathnode *parent, const struct pathname *name)
{
	uint64_t hash;
	struct pathnode *n;

	if (parent == NULL || parent->child == NULL)
		return NULL;
	hash = hash_of(parent, name);
	for (n = *bucket_of(t, hash); n != NULL; n = n->chain)
		if (n->hash == hash && n->parent == parent && n->tag == name->tag && n->len == name->bytes.len &&
		    (n->len == 0 || memcmp(n->name, name->bytes.ptr, n->len) == 0))
			break;
	return n;
}

static void
charge(struct pathtree *t, size_t bytes)
{
	t->bytes += bytes;
	if (t->bytes > t->peak)
		t->peak = t->bytes;
}

/* Removes a node without children. */
static void
remove_leaf(struct pathtree *t, struct pathnode *n)
{
	struct pathnode **at = bucket_of(t, n->hash);

	while (*at != n)
		at = &(*at)->chain;
	*at = n->chain;
	if (n->prev != NULL)
		n->prev->next = n->next;
	else
		n->parent->child = n->next;
	if (n->next != NULL)
		n->next->prev = n->prev;
	t->nnodes--;
	t->bytes -= weight(n);
	free(n);
}

/* Not recursive: paths are as deep as a device likes. */
void
pathtree_clear_below(struct pathtree *t, struct pathnode *n)
{
	struct pathnode *at = n;

	while (n->child != NULL) {
		struct pathnode *up;

		while (at->child != NULL)
			at = at->child;
		up = at->parent;
		remove_leaf(t, at);
		at = up;
	}
}

void
pathtree_prune(struct pathtree *t, struct pathnode *n)
{
	while (n != t->root && n->child == NULL && !n->live && !n->erased && !n->filled) {
		struct pathnode *up = n->parent;

		remove_leaf(t, n);
		n = up;
	}
}

void
pathtree_forget(struct pathtree *t)
{
	struct pathnode **small;

	pathtree_clear_below(t, t->root);
	if (t->nbuckets > BUCKETS_MIN && (small = realloc(t->bucket, BUCKETS_MIN * sizeof(*small))) != NULL) {
		t->bucket = small; /* all are NULL */
		t->bytes -= (t->nbuckets - BUCKETS_MIN) * sizeof(*small);
		t->nbuckets = BUCKETS_MIN;
	}
}

/* Doubles the hash table; without memory it stays as it is, and chains grow to their limit. */
static void
widen(struct pathtree *t)
{
	size_t old = t->nbuckets, more = old * sizeof(*t->bucket);
	struct pathnode **wide, *n, *next;

	if (t->bytes + more > t->max_bytes || (wide = calloc(old * 2, sizeof(*wide))) == NULL)
		return;
	charge(t, more);
	t->nbuckets = old * 2;
	for (size_t i = 0; i < old; i++) {
		for (n = t->bucket[i]; n != NULL; n = next) {
			size_t to = (n->hash ^ n->hash >> 32) & (t->nbuckets - 1);

			next = n->chain;
			n->chain = wide[to];
			wide[to] = n;
		}
	}
	free(t->bucket);
	t->bucket = wide;
}

struct pathnode *
pathtree_reach(struct pathtree *t, struct pathnode *parent, const struct pathname *name)
{
	struct pathnode *n = pathtree_find(t, parent, name), **at;
	size_t chain = 0;

	if (n != NULL)
		return n;
	if (t->nnodes >= t->nbuckets)
		widen(t);
	at = bucket_of(t, hash_of(parent, name));
	for (n = *at; n != NULL; n = n->chain)
		chain++;
	if (chain >= CHAIN_MAX || t->bytes + sizeof(*n) + name->bytes.len > t->max_bytes ||
	    (n = calloc(1, sizeof(*n) + name->bytes.len)) == NULL) {
		pathtree_forget(t);
		t->forgotten++;
		return NULL;
	}
	n->hash = hash_of(parent, name);
	n->tag = name->tag;
	n->len = name->bytes.len;
	if (n->len > 0)
		memcpy(n->name, name->bytes.ptr, n->len);
	n->parent = parent;
	n->next = parent->child;
	if (n->next != NULL)
		n->next->prev = n;
	parent->child = n;
	n->chain = *at;
	*at = n;
	t->nnodes++;
	charge(t, weight(n));
	return n;
}

bool
pathtree_open(struct pathtree *t, size_t max_bytes)
{
	memset(t, 0, sizeof(*t));
	t->max_bytes = max_bytes;
	t->nbuckets = BUCKETS_MIN;
	t->root = calloc(1, sizeof(*t->root));
	t->bucket = calloc(t->nbuckets, sizeof(struct pathnode *));
	if (t->root == NULL || t->bucket == NULL) {
		free(t->root);
		free(t->bucket);
		return false;
	}
	charge(t, sizeof(*t->root) + t->nbuckets * sizeof(struct pathnode *));
	return true;
}

void
pathtree_close(struct pathtree *t)
{
	pathtree_clear_below(t, t->root);
	free(t->root);
	free(t->bucket);
}
