/* Pre-merge: which instructions of a backlog cannot matter any more (design.md section 6; the rules are listed in premerge.def).
 *
 * Why a drop is safe whatever prefix of the backlog upstream already holds
 *
 *   Going from the newest changeset to the oldest, the decision about an instruction looks only at instructions behind it. So the
 *   pre-merged backlog P(A), cut off at any version, is exactly the pre-merge of the rest: P(A)[v..] = P(A[v..]). If upstream has
 *   integrated everything up to v already, however long ago, by another way, or just now without telling us, it skips that (S5) and
 *   takes the pre-merge of what it lacks. That this comes to the same as all of what it lacks, for every server state and every edit
 *   of others, is the promise of the rules, and what tests/merge proves on a model of server and clients. Which changesets are in
 *   flight does not matter, then, nor whether newer ones arrive while a pass is at work: they only stand behind everything. And a pass
 *   may stop anywhere: each drop rests on instructions that are kept.
 *
 *   Four things are harder than they look; for three of them the rules are stricter than in design.md section 6 (+ in premerge.def):
 *   - The device merges with its own changesets as it made them, and only with those that upstream does not have yet. If upstream took
 *     P(A)[..v] and then an edit of another device, the device merges that edit with A[v..] only. So what A[v..] counts on, the size of
 *     a list above all, must not have been dropped from A[..v], although all of it is erased in the end.
 *   - A device may bring A[v..] itself, by another way, after upstream took P(A)[..v]: the same. (Left open: an AddInteger to a mixed
 *     field whose type changed shortly before, all overwritten later; it is dropped as design.md says.)
 *   - An AddInteger of another device is dropped by an Update of a string that it meets, but added into an Update of an integer.
 *   - What others send is dropped by a write that is there before it, and then it drops nothing more. Where that write was dropped here, it comes to
 *     what it comes to when the backlog comes a little later. (Only an AddInteger to a mixed field, and a Clear that meets a newer default, can tell
 *     the difference.)
 *
 *   Known: an EraseColumn of another device drops Updates, but an AddInteger it leaves alone. The server refuses that then, or, where the column has
 *   come back, adds to it what the device had overwritten itself. Dropped here, it does neither.
 *
 *   Known: where several clients replace a list in one mixed field at the same time, the reference's own merge may not converge, without any
 *   pre-merge (tests/unit/test_merge.c shows how), and what is dropped here can show what it hid (1 in some 100,000 cases of tests/merge, which
 *   are made to meet).
 *
 * Why the merge rules (protocol.md section 8) allow it
 *
 *   (a) An earlier write u and a later Update v of the same path, v real (not default), plain and not older, and nothing kept between them on that
 *   path, above it or below it. Two instructions that meet leave each other alone, or one kills the other, or an AddInteger is added into an Update,
 *   which changes nothing about who kills whom. Pair by pair of the reference's rules, two things hold:
 *	   What kills v, kills u. It is above the path, or a real Update or a Clear of it that is newer than v and thus than u.
 *	   What u kills, v kills. It is below the path, or the creation of an embedded object, or an Update or a Clear that is older than u and thus than
 *	   v, or a default; or a counter that is older too, or any (SAME_SORT).
 *   So whatever u kills until it dies itself, v kills too: it cannot have died before, for what killed it would have killed u on the spot. What
 *   neither kills is hidden by v's value in the end. In no case is anything of u seen.
 *
 *   EARLIER_DEFAULT is proven to follow: that u is real is not used. A default is killed by more and kills less: by a real Update of any age, and
 *   none of those. EARLIER_PLAIN is needed: two lists, or two dictionaries, leave each other alone, so u can outlive v, which the other one
 *   kills, and go on killing.
 *
 *   SAME_BASE is proven to follow. Let x be an edit of another that v was made on top of, but u was not. If the server has u before x, u is upstream
 *   already, and to drop it here changes nothing. Else x stands before u in the server's history, unchanged by u, and everybody applies it before
 *   u and v and merges with it before them, whether u comes or not. Only the copy of x that this device's own changesets are merged with is changed
 *   by u, where x is on the path or below it; and that copy meets only what comes after u with a base before x, that is between u and v, and nothing
 *   kept there is on the path, above it or below it. What x left, v overwrites. Both conditions stay, as caution.
 *
 *   (b) An EraseObject drops everything that others do inside the object, and what it does not drop has erased the object itself. What
 *   is dropped before it are writes that nothing counts on: plain Updates, AddInteger, set instructions, Clear.
 *
 *   The barriers are for the instructions in between that are kept: they may stand on a value that u set (AddInteger after a change of
 *   type), on the absence of what u overwrote (prior_size after a list was replaced), or meet what u would have dropped.
 *
 * What is dropped has no effect on what is known, so pre-merging twice is the same as once.
 *
 * What is known is a tree (pathtree.h): table, object, field, and on along the path. A node is live if a later Update of it may justify
 * a drop (a), erased if it is an object that a later EraseObject erases (b). To clear a table, an object or a field is to cut off a
 * branch, so each node costs once to make and once to remove. */
#include "protocol/premerge.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/changeset.h"
#include "protocol/pathtree.h"

#define UNREAD_PART 8 /* a changeset over this part of max_bytes is kept unread: the work space is up to 12 times its size */

/* ON(rule): is it in force? Always, but in the build that tests the tests. */
#ifdef PREMERGE_MUTANTS
uint64_t premerge_off;
#define ON(rule) ((premerge_off >> PREMERGE_##rule & 1) == 0)
#else
#define ON(rule) true
#endif

/* Tags of names. Keys of objects have their cs_type, seen as a byte. */
enum { NAME_STRING = 0x40, NAME_INDEX = 0x41 };

struct premerge {
	struct pathtree tree; /* table, object, field, and on along the path */
	size_t max_bytes;
	bool in_run; /* the next two are those of the last feed */
	uint64_t server_version, client_version;
	struct premerge_stats stats;
	/* Work space for one changeset. */
	struct cs_parsed parsed;
	struct cs_writer writer;
	bool *drop; /* for each item */
	size_t drop_cap;
	uint32_t *map; /* for each string: its new number */
	size_t map_cap;
};

/* ---- names ---- */

static struct pathname
name_of_str(const struct premerge *p, uint32_t str)
{
	return (struct pathname){ NAME_STRING, p->parsed.str[str] };
}

/* The name of an object, by its key; numbers are seen as bytes where they stand. */
static struct pathname
name_of_key(const struct premerge *p, const struct cs_key *key)
{
	struct pathname name = { (uint8_t)key->type, { NULL, 0 } };

	switch (key->type) {
	case CS_INT:
		name.bytes = (struct view){ (const uint8_t *)&key->integer, sizeof(key->integer) };
		break;
	case CS_STRING:
		name.bytes = p->parsed.str[key->str];
		break;
	case CS_GLOBAL_KEY:
		name.bytes = (struct view){ (const uint8_t *)&key->global, sizeof(key->global) };
		break;
	case CS_OBJECT_ID:
	case CS_UUID:
		name.bytes = key->bytes;
		break;
	default:
		break;
	}
	return name;
}

/* The next step of a path; false at its end. */
static bool
next_name(const struct premerge *p, struct cs_path *rest, struct cs_element *e, struct pathname *name)
{
	if (!ON(SAME_PATH) || !cs_path_next(rest, e))
		return false;
	*name = e->is_index ? (struct pathname){ NAME_INDEX, { (const uint8_t *)&e->value, sizeof(e->value) } } : name_of_str(p, e->value);
	return true;
}

static struct pathnode *
find_table(struct premerge *p, const struct cs_instr *i)
{
	struct pathname table = name_of_str(p, i->table);

	return pathtree_find(&p->tree, p->tree.root, &table);
}

static struct pathnode *
find_object(struct premerge *p, const struct cs_instr *i)
{
	struct pathname key = name_of_key(p, &i->key);

	return pathtree_find(&p->tree, find_table(p, i), &key);
}

/* object may be NULL. */
static struct pathnode *
find_field(struct premerge *p, const struct pathnode *object, const struct cs_instr *i)
{
	struct pathname field = name_of_str(p, i->field);

	return pathtree_find(&p->tree, object, &field);
}

static struct pathnode *
find_path(struct premerge *p, const struct pathnode *object, const struct cs_instr *i)
{
	struct pathnode *n = find_field(p, object, i);
	struct cs_path rest = i->path;
	struct cs_element e;
	struct pathname name;

	while (n != NULL && next_name(p, &rest, &e, &name))
		n = pathtree_find(&p->tree, n, &name);
	return n;
}

static struct pathnode *
reach_object(struct premerge *p, const struct cs_instr *i)
{
	struct pathname table = name_of_str(p, i->table), key = name_of_key(p, &i->key);
	struct pathnode *n = pathtree_reach(&p->tree, p->tree.root, &table);

	return n != NULL ? pathtree_reach(&p->tree, n, &key) : NULL;
}

static struct pathnode *
reach_path(struct premerge *p, const struct cs_instr *i)
{
	struct pathname name = name_of_str(p, i->field);
	struct pathnode *n = reach_object(p, i);
	struct cs_path rest = i->path;
	struct cs_element e;

	if (n != NULL)
		n = pathtree_reach(&p->tree, n, &name);
	while (n != NULL && next_name(p, &rest, &e, &name))
		n = pathtree_reach(&p->tree, n, &name);
	return n;
}

/* ---- the rules ---- */

/* A value that an object, a list, a dictionary or a set is not made for. An erased entry of a dictionary is one. */
static bool
is_plain(const struct cs_payload *v)
{
	return v->type >= CS_NULL || v->type == CS_ERASED;
}

/* An AddInteger that another device made later is dropped by an Update of such a value, and only by such: it adds to an integer, and
 * waits at null for an integer to come. */
static bool
drops_counters(const struct cs_payload *v)
{
	return v->type != CS_INT && v->type != CS_NULL;
}

/* May a later Update v = i justify drops on its path? */
static bool
justifies(const struct cs_instr *i)
{
	return i->code == CS_UPDATE && (!i->path.indexed || !ON(NO_INDEX)) &&
	       (i->path.ends_in_index || !i->is_default || !ON(LATER_DEFAULT)) && (is_plain(&i->value) || !ON(LATER_PLAIN));
}

/* Rule (a): is the Update or AddInteger i made irrelevant by a later Update of the same path? */
static bool
is_overwritten(struct premerge *p, const struct pathnode *object, const struct cs_instr *i, uint64_t timestamp)
{
	const struct pathnode *n;

	if (i->path.indexed && ON(NO_INDEX))
		return false;
	if (i->code == CS_UPDATE && !is_plain(&i->value) && ON(EARLIER_PLAIN))
		return false;
	if (i->code == CS_UPDATE && !i->path.ends_in_index && i->is_default && ON(EARLIER_DEFAULT))
		return false;
	n = find_path(p, object, i);
	if (n == NULL || !n->live || (n->timestamp < timestamp && ON(TIMESTAMP)))
		return false;
	return i->code == CS_ADD_INTEGER || n->drops_counters || !drops_counters(&i->value) || !ON(SAME_SORT);
}

/* A kept Update or AddInteger clears (a) for its own path and for all prefixes of it, an Update for all below it too. */
static void
clear_along(struct premerge *p, const struct pathnode *object, const struct cs_instr *i)
{
	struct pathnode *n = find_field(p, object, i), *last = NULL;
	struct cs_path rest = i->path;
	struct cs_element e;
	struct pathname name;

	while (n != NULL) {
		bool own = !next_name(p, &rest, &e, &name);

		last = n;
		if (own ? ON(BAR_OWN) : ON(BAR_PREFIX))
			n->live = false;
		if (own && i->code == CS_UPDATE && ON(BAR_BELOW))
			pathtree_clear_below(&p->tree, n);
		n = own ? NULL : pathtree_find(&p->tree, n, &name);
	}
	if (last != NULL)
		pathtree_prune(&p->tree, last);
}

/* Update and AddInteger; true: drop it. */
static bool
visit_write(struct premerge *p, const struct pathnode *object, const struct cs_instr *i, uint64_t timestamp)
{
	struct pathnode *n;

	if (is_overwritten(p, object, i, timestamp))
		return true;
	clear_along(p, object, i);
	if (justifies(i) && (n = reach_path(p, i)) != NULL) {
		n->live = true;
		n->drops_counters = drops_counters(&i->value);
		n->timestamp = timestamp;
	}
	return false;
}

static void
clear_field(struct premerge *p, const struct pathnode *object, const struct cs_instr *i)
{
	struct pathnode *n = find_field(p, object, i);

	if (n == NULL)
		return;
	pathtree_clear_below(&p->tree, n);
	n->live = false;
	pathtree_prune(&p->tree, n);
}

static bool
clears_field(const struct cs_instr *i)
{
	switch (i->code) {
	case CS_UPDATE:
		return i->path.indexed && ON(NO_INDEX) && ON(BAR_INDEXED);
	case CS_ARRAY_INSERT:
	case CS_ARRAY_MOVE:
	case CS_ARRAY_ERASE:
		return ON(BAR_ARRAY) && ON(NO_INDEX);
	case CS_SET_INSERT:
	case CS_SET_ERASE:
		return ON(BAR_SET);
	case CS_CLEAR:
		return ON(BAR_CLEAR);
	default:
		return false;
	}
}

static bool
counts(const struct cs_instr *i)
{
	return i->path.indexed || (i->code >= CS_ARRAY_INSERT && i->code <= CS_ARRAY_ERASE);
}

/* Makes an embedded object or a collection. */
static bool
makes_parent(const struct cs_instr *i)
{
	return i->code == CS_UPDATE && !is_plain(&i->value);
}

/* What i, which is kept, stands on is kept too: all that is older in its field. */
static void
fill_field(struct premerge *p, const struct cs_instr *i)
{
	struct pathname name = name_of_str(p, i->field);
	struct pathnode *n = reach_object(p, i);

	if (n != NULL && (n = pathtree_reach(&p->tree, n, &name)) != NULL)
		n->filled = true;
}

/* Rule (b); true: drop it. */
static bool
visit_erased(struct premerge *p, const struct pathnode *object, const struct cs_instr *i)
{
	const struct pathnode *field = find_field(p, object, i);
	bool arrays = counts(i) && ON(KEEP_ARRAYS), parent = makes_parent(i) && ON(KEEP_PARENTS);

	if (arrays || (parent && i->path.n > 0)) {
		fill_field(p, i);
		return false;
	}
	return !parent && (field == NULL || !field->filled || !ON(KEEP_FILLED));
}

/* Everything with a path; true: drop it. */
static bool
visit_inside(struct premerge *p, const struct cs_instr *i, uint64_t timestamp)
{
	const struct pathnode *object = find_object(p, i), *erased = ON(OWN_ERASE) ? object : find_table(p, i);

	if (erased != NULL && erased->erased)
		return visit_erased(p, object, i);
	if (clears_field(i))
		clear_field(p, object, i);
	else if (i->code == CS_ADD_INTEGER || (i->code == CS_UPDATE && (!i->path.indexed || !ON(NO_INDEX))))
		return visit_write(p, object, i, timestamp);
	return false;
}

/* CreateObject and EraseObject are kept (true in a mutant only: drop it). */
static bool
visit_object(struct premerge *p, const struct cs_instr *i)
{
	bool erase = i->code == CS_ERASE_OBJECT;
	struct pathnode *n = find_object(p, i);

	if (n != NULL && n->erased && (erase ? !ON(KEEP_ERASE) : !ON(KEEP_CREATE)))
		return true;
	if (n != NULL && (erase ? ON(BAR_ERASE) : !n->erased && ON(BAR_CREATE))) {
		pathtree_clear_below(&p->tree, n);
		pathtree_prune(&p->tree, n);
	}
	if (erase && (n = reach_object(p, i)) != NULL) {
		n->erased = true;
		n->parent->erased |= !ON(OWN_ERASE);
	}
	return false;
}

static void
clear_table(struct premerge *p, const struct cs_instr *i)
{
	struct pathnode *n = find_table(p, i);

	if (n == NULL)
		return;
	pathtree_clear_below(&p->tree, n);
	n->erased = false;
	pathtree_prune(&p->tree, n);
}

/* The next older instruction; true: drop it. */
static bool
visit(struct premerge *p, const struct cs_instr *i, uint64_t timestamp)
{
	switch (i->code) {
	case CS_INTERN_STRING:
		return false;
	case CS_ERASE_TABLE:
		if (ON(BAR_ERASE_TABLE))
			premerge_forget(p);
		return false;
	case CS_ADD_TABLE:
	case CS_ADD_COLUMN:
	case CS_ERASE_COLUMN:
		if (ON(BAR_SCHEMA))
			clear_table(p, i);
		return false;
	case CS_CREATE_OBJECT:
	case CS_ERASE_OBJECT:
		return visit_object(p, i);
	default:
		return visit_inside(p, i, timestamp);
	}
}

/* ---- one changeset ---- */

static bool
room(void **array, size_t *cap, size_t n, size_t size)
{
	void *bigger;

	if (n <= *cap)
		return true;
	if ((bigger = realloc(*array, n * size)) == NULL)
		return false;
	*array = bigger;
	*cap = n;
	return true;
}

/* Numbers the strings that what is kept uses, in the order they have: none gets a higher number, so nothing grows. */
static void
number_strings(struct premerge *p)
{
	struct cs_instr i;
	uint32_t str[CS_STRINGS_MAX], next = 0;

	memset(p->map, 0, p->parsed.nstr * sizeof(*p->map));
	for (size_t at = 0; at < p->parsed.n; at++) {
		struct cs_element e;
		size_t n;

		if (p->drop[at])
			continue;
		cs_get(&p->parsed, at, &i);
		n = cs_strings(&i, str);
		while (n > 0)
			p->map[str[--n]] = 1;
		if (cs_has_path(i.code))
			while (cs_path_next(&i.path, &e))
				if (!e.is_index)
					p->map[e.value] = 1;
	}
	for (size_t s = 0; s < p->parsed.nstr; s++)
		p->map[s] = p->map[s] != 0 ? next++ : UINT32_MAX;
}

/* Writes what is kept to p->writer; false: no memory. */
static bool
rewrite(struct premerge *p)
{
	struct cs_instr i;

	if (!room((void **)&p->map, &p->map_cap, p->parsed.nstr, sizeof(*p->map)))
		return false;
	number_strings(p);
	p->writer.len = 0;
	p->writer.failed = false;
	for (size_t at = 0; at < p->parsed.n; at++) {
		if (p->drop[at])
			continue;
		cs_get(&p->parsed, at, &i);
		if (i.code == CS_INTERN_STRING) {
			i.intern.index = p->map[i.intern.index];
			if (i.intern.index == UINT32_MAX)
				continue;
		}
		cs_write(&p->writer, &i, p->map);
	}
	return !p->writer.failed;
}

/* Decides about each instruction of p->parsed, from its end; sets the numbers of those seen and those dropped. */
static void
decide(struct premerge *p, uint64_t timestamp, size_t *seen, size_t *dropped)
{
	struct cs_instr i;

	*seen = *dropped = 0;
	for (size_t at = p->parsed.n; at-- > 0;) {
		cs_get(&p->parsed, at, &i);
		p->drop[at] = visit(p, &i, timestamp);
		*seen += i.code != CS_INTERN_STRING;
		*dropped += p->drop[at];
	}
}

static enum premerge_verdict
unread(struct premerge *p, const struct upload_entry *e)
{
	if (ON(BAR_UNREAD))
		premerge_forget(p);
	p->stats.unread++;
	p->stats.bytes_out += e->changeset.len;
	return PREMERGE_KEEP;
}

static enum premerge_verdict
read_one(struct premerge *p, const struct upload_entry *e, struct view *out)
{
	size_t seen, dropped;

	if (e->changeset.len > p->max_bytes / UNREAD_PART || cs_parse(&p->parsed, e->changeset.ptr, e->changeset.len) != PROTO_OK ||
	    !room((void **)&p->drop, &p->drop_cap, p->parsed.n, sizeof(*p->drop)))
		return unread(p, e);
	decide(p, e->origin_timestamp, &seen, &dropped);
	p->stats.instructions += seen;
	if (seen > dropped && dropped > 0 && !rewrite(p)) {
		p->stats.instructions -= seen;
		return unread(p, e);
	}
	p->stats.dropped += dropped;
	if (dropped == seen) {
		p->stats.emptied++;
		return PREMERGE_EMPTY;
	}
	if (dropped == 0) {
		p->stats.bytes_out += e->changeset.len;
		return PREMERGE_KEEP;
	}
	*out = (struct view){ p->writer.buf, p->writer.len };
	p->stats.replaced++;
	p->stats.bytes_out += out->len;
	return PREMERGE_REPLACE;
}

enum premerge_verdict
premerge_feed(struct premerge *p, const struct upload_entry *e, struct view *out)
{
	bool ours = e->origin_file_ident == 0 || !ON(ORIGIN);

	if (p->in_run && ((e->server_version != p->server_version && ON(SAME_BASE)) || e->client_version >= p->client_version))
		premerge_forget(p);
	p->in_run = true;
	p->server_version = e->server_version;
	p->client_version = e->client_version;
	p->stats.changesets++;
	p->stats.bytes_in += e->changeset.len;
	if (!ours)
		return unread(p, e);
	if (e->changeset.len == 0)
		return PREMERGE_KEEP;
	return read_one(p, e, out);
}

/* ---- life ---- */

struct premerge *
premerge_new(size_t max_bytes)
{
	struct premerge *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	p->max_bytes = max_bytes;
	if (!pathtree_open(&p->tree, max_bytes)) {
		free(p);
		return NULL;
	}
	return p;
}

void
premerge_free(struct premerge *p)
{
	if (p == NULL)
		return;
	pathtree_close(&p->tree);
	free(p->drop);
	free(p->map);
	cs_writer_free(&p->writer);
	cs_free(&p->parsed);
	free(p);
}

void
premerge_forget(struct premerge *p)
{
	pathtree_forget(&p->tree);
}

struct premerge_stats
premerge_stats(const struct premerge *p)
{
	struct premerge_stats s = p->stats;

	s.forgotten = p->tree.forgotten;
	s.state_bytes = p->tree.bytes;
	s.state_peak = p->tree.peak;
	return s;
}
