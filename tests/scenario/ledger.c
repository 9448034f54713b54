/* Compares what devices wrote with what the upstream integrated; see ledger.h.
 *
 * The idea: both sides write plain files, named acked, all and dump here, in which a changeset is (client_version, length, CRC);
 * nothing but the programs under test has computed them. A device is found in the upstream's file by path and file ident. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/scenario/fail.h"
#include "tests/scenario/ledger.h"

struct device {
	const struct member *client;
	char name[64], path[256];
};

struct record {
	uint64_t ident; /* 0 in a device's own list */
	uint64_t client_version, len, crc;
	char path[256];
};

struct list {
	struct record *r;
	size_t n;
};

static struct device *devices;
static size_t ndevices;

/* p, which holds n - 1 elements of size bytes, with room for one more: it grows at each power of two, to twice that. */
static void *
grown(void *p, size_t n, size_t size)
{
	if ((n & (n - 1)) != 0)
		return p;
	p = realloc(p, 2 * n * size);
	if (p == NULL)
		abort();
	return p;
}

static void
add_device(const struct member *client, const char *name, const char *path)
{
	struct device *d;

	devices = grown(devices, ndevices + 1, sizeof *devices);
	d = &devices[ndevices++];
	d->client = client;
	snprintf(d->name, sizeof d->name, "%s", name);
	snprintf(d->path, sizeof d->path, "%.255s", path);
}

/* path with the first %d replaced by n */
static void
numbered(const char *path, uint64_t n, char out[256])
{
	const char *at = strstr(path, "%d");

	if (at == NULL)
		snprintf(out, 256, "%.255s", path);
	else
		snprintf(out, 256, "%.*s%" PRIu64 "%.100s", at - path < 100 ? (int)(at - path) : 100, path, n, at + 2);
}

void
ledger_note(const struct member *client, const char *command)
{
	char copy[TEXT_MAX], path[TEXT_MAX], name[64], one[256], *rest = copy;
	const char *word, *prefix;
	uint64_t n = 0;

	snprintf(copy, sizeof copy, "%s", command);
	word = text_word(&rest);
	if (word == NULL || (strcmp(word, "device") != 0 && strcmp(word, "fleet") != 0) || (prefix = text_word(&rest)) == NULL ||
	    !text_field(command, "path", path))
		return;
	if (strcmp(word, "device") == 0) {
		add_device(client, prefix, path);
		return;
	}
	if (!text_number(text_word(&rest), &n))
		return;
	for (uint64_t i = 0; i < n; i++) {
		snprintf(name, sizeof name, "%.40s%" PRIu64, prefix, i);
		numbered(path, i, one);
		add_device(client, name, one);
	}
}

void
ledger_free(void)
{
	free(devices);
	devices = NULL;
	ndevices = 0;
}

/* Reads a file of records: the upstream's if of_upstream. */
static struct list
read_list(const char *file, bool of_upstream)
{
	struct list l = { NULL, 0 };
	FILE *f = fopen(file, "re");
	char line[TEXT_MAX];

	if (f == NULL)
		fail("%s: %s", file, strerror(errno));
	while (fgets(line, sizeof line, f) != NULL) {
		struct record r = { 0 };
		int got;

		if (of_upstream)
			got = sscanf(line, "%255s %" SCNu64 " %" SCNu64 " %*u %*u %" SCNu64 " %" SCNx64, r.path, &r.ident,
				     &r.client_version, &r.len, &r.crc);
		else
			got = sscanf(line, "%" SCNu64 " %" SCNu64 " %" SCNx64, &r.client_version, &r.len, &r.crc);
		if (got != (of_upstream ? 5 : 3))
			fail("%s: not a record: %s", file, line);
		l.r = grown(l.r, l.n + 1, sizeof *l.r);
		l.r[l.n++] = r;
	}
	fclose(f);
	return l;
}

/* What a device says: its own changesets, all or the acknowledged ones. */
static struct list
ask_list(struct member *m, const struct device *d, bool all)
{
	const char *file = all ? "all.list" : "acked.list";
	char command[TEXT_MAX], answer[TEXT_MAX];

	snprintf(command, sizeof command, "acked %s %s%s", d->name, file, all ? " all" : "");
	if (!stage_ask(m, command, answer))
		fail("%s: %s", command, answer);
	return read_list(file, false);
}

static uint64_t
ask_ident(struct member *m, const struct device *d)
{
	char command[128], answer[TEXT_MAX], value[TEXT_MAX];
	uint64_t ident;

	snprintf(command, sizeof command, "status %s", d->name);
	if (!stage_ask(m, command, answer) || !text_field(answer, "ident", value) || !text_number(value, &ident))
		fail("%s: no ident: %s", command, answer);
	return ident;
}

/* The upstream's records of one device, in its order. */
static struct list
select_list(const struct list *dump, const char *path, uint64_t ident)
{
	struct list l = { NULL, 0 };

	for (size_t i = 0; i < dump->n; i++) {
		if (dump->r[i].ident != ident || strcmp(dump->r[i].path, path) != 0)
			continue;
		l.r = grown(l.r, l.n + 1, sizeof *l.r);
		l.r[l.n++] = dump->r[i];
	}
	return l;
}

static const struct record *
find(const struct list *l, uint64_t client_version)
{
	for (size_t i = 0; i < l->n; i++) {
		if (l->r[i].client_version == client_version)
			return &l->r[i];
	}
	return NULL;
}

/* What upstream has of d is rising, and made by d; merged: but perhaps not as it was. */
static void
check_integrated(const struct device *d, const struct list *has, const struct list *all, bool merged)
{
	for (size_t i = 0; i < has->n; i++) {
		const struct record *r = &has->r[i], *own = find(all, r->client_version);

		if (i > 0 && r->client_version <= r[-1].client_version)
			fail("%s: upstream integrated client_version %" PRIu64 " after %" PRIu64, d->name, r->client_version,
			     r[-1].client_version);
		if (own == NULL)
			fail("%s: upstream integrated client_version %" PRIu64 ", which the device did not write", d->name,
			     r->client_version);
		if (merged ? own->len < r->len : own->len != r->len || own->crc != r->crc)
			fail("%s: client_version %" PRIu64 " arrived as other bytes: %" PRIu64 " bytes, CRC %08" PRIx64
			     ", want %" PRIu64 ", %08" PRIx64, d->name, r->client_version, r->len, r->crc, own->len, own->crc);
	}
}

/* The answers to two questions about d's content are the same. */
static void
check_content(struct member *m, struct member *up, const struct device *d)
{
	char command[512], wrote[TEXT_MAX], arrived[TEXT_MAX];

	snprintf(command, sizeof command, "content %s", d->name);
	if (!stage_ask(m, command, wrote))
		fail("%s: %s", d->name, wrote);
	snprintf(command, sizeof command, "content %s %" PRIu64, d->path, ask_ident(m, d));
	if (!stage_ask(up, command, arrived))
		fail("%s: upstream: %s", d->name, arrived);
	if (strcmp(wrote, arrived) != 0)
		fail("%s: what it wrote comes to %s, what arrived to %s", d->name, wrote, arrived);
}

static size_t
check_device(struct member *m, const struct device *d, const struct list *dump, enum ledger_claim claim)
{
	bool delivered = claim != LEDGER_ACKED;
	struct list all = ask_list(m, d, true), want = ask_list(m, d, delivered);
	struct list has = select_list(dump, d->path, ask_ident(m, d));
	size_t n = want.n;

	check_integrated(d, &has, &all, claim == LEDGER_MERGED);
	for (size_t i = 0; i < want.n && claim != LEDGER_MERGED; i++) {
		if (find(&has, want.r[i].client_version) == NULL)
			fail("%s: client_version %" PRIu64 ", %s, is not upstream (which has %zu of %zu)", d->name,
			     want.r[i].client_version, delivered ? "which the device wrote" : "acknowledged to the device", has.n,
			     want.n);
	}
	free(all.r);
	free(want.r);
	free(has.r);
	return n;
}

static void
check_client(struct member *m, const char *device, enum ledger_claim claim)
{
	struct member *up = m;
	char answer[TEXT_MAX];
	struct list dump;
	size_t n = 0;

	while (up->target != NULL)
		up = stage_behind(up);
	if (!stage_ask(up, "dump dump.list", answer))
		fail("dump: %s", answer);
	dump = read_list("dump.list", true);
	for (size_t i = 0; i < ndevices; i++) {
		if (devices[i].client == m && (device == NULL || strcmp(devices[i].name, device) == 0))
			n += check_device(m, &devices[i], &dump, claim);
		if (claim == LEDGER_MERGED && devices[i].client == m && (device == NULL || strcmp(devices[i].name, device) == 0))
			check_content(m, up, &devices[i]);
	}
	free(dump.r);
	if (n == 0)
		fail("%s: nothing was %s, so nothing is proved", m->proc.name, claim == LEDGER_ACKED ? "acknowledged" : "written");
}

void
ledger_check(const struct member *client, const char *device, enum ledger_claim claim)
{
	struct member *m;

	for (unsigned i = 0; (m = stage_member(i)) != NULL; i++) {
		if (m->kind == CLIENT && (client == NULL ? m->wanted : m == client))
			check_client(m, device, claim);
	}
}
