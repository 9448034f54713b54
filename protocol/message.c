/* Sync messages: heads, entries and subprotocol names (message.h; the wire in words: PROTOCOL).
 *
 * Everything that differs from message to message is in message.def.  Expanded here it becomes rows[]: for each message its
 * name and a list of (kind, offset into struct message) in wire order.  One loop over such a list parses a head, another
 * writes it back, a third adds up its body, so no message has code of its own and the three cannot disagree.
 *
 * Parsing is one pass from left to right, nothing allocated or copied.  Whatever runs out of
 * input returns PROTO_MORE from where it stands; whatever is wrong is refused at the byte that makes it wrong, so a peer
 * that sends rubbish is found out before it ends its line.  A number has one spelling only: that is what makes
 * parse-then-format give the same bytes.
 *
 * No state, I/O, log or allocation here.  Rules that need a session's history (C1-C9, S1-S6) are not checked. */
#include "protocol/message.h"

#include <string.h>

#define NUMBER_DIGITS 19   /* of 2^63 - 1; 19 digits never overflow a uint64_t, so one compare at the end is enough */
#define FRACTION_MAX 32	   /* bytes; the longest double printed in full has 24 */
#define FIELDS_MAX 14	   /* of a row: 13 in the FLX DOWNLOAD, and FIELD_END */

enum field_kind {
	FIELD_END = 0,
#define KIND(kind, min, max, err) FIELD_##kind,
#include "protocol/message.def"
#undef KIND
	FIELD_FRACTION,
};

static const struct {
	uint64_t min, max;
	enum proto_err over;
} kinds[] = {
#define KIND(kind, min, max, err) [FIELD_##kind] = { (min), (max), (err) },
#include "protocol/message.def"
#undef KIND
};

struct field {
	uint8_t kind;	 /* enum field_kind */
	uint16_t offset; /* of a uint64_t (FIELD_FRACTION: of a struct view) */
};

struct row {
	const char *name;
	uint8_t name_len;
	uint8_t dir;	  /* enum msg_dir */
	uint8_t flavours; /* bit (1 << enum msg_flavour) for each it stands in */
	uint8_t type;	  /* enum msg_type */
	struct field fields[FIELDS_MAX]; /* in wire order, ended by FIELD_END */
};

#define FOR_PBS (1U << MSG_PBS)
#define FOR_FLX (1U << MSG_FLX)
#define FOR_ANY (FOR_PBS | FOR_FLX)

static const struct row rows[] = {
#define F(kind, member) { FIELD_##kind, offsetof(struct message, member) },
#define MSG(type, dir, flavour, name, fields) \
	{ name, sizeof(name) - 1, MSG_##dir, FOR_##flavour, MSG_##type, { fields } },
#include "protocol/message.def"
#undef MSG
#undef F
};

enum {
#define MSG(type, dir, flavour, name, fields) ROW_##type##_##flavour,
#include "protocol/message.def"
#undef MSG
	NROWS
};

/* Row number + 1 by type and flavour; 0 where the flavour does not have the message. */
static const uint8_t row_by_type[MSG_NTYPES][2] = {
#define INDEX_ANY(type) [MSG_##type] = { ROW_##type##_ANY + 1, ROW_##type##_ANY + 1 },
#define INDEX_PBS(type) [MSG_##type][MSG_PBS] = ROW_##type##_PBS + 1,
#define INDEX_FLX(type) [MSG_##type][MSG_FLX] = ROW_##type##_FLX + 1,
#define MSG(type, dir, flavour, name, fields) INDEX_##flavour(type)
#include "protocol/message.def"
#undef MSG
};

/* As long as the longest name in the table. */
union longest_name {
#define MSG(type, dir, flavour, name, fields) char ROW_##type##_##flavour[sizeof(name) - 1];
#include "protocol/message.def"
#undef MSG
};

_Static_assert(sizeof(rows) / sizeof(rows[0]) == NROWS && NROWS < UINT8_MAX, "row numbers fit row_by_type");
_Static_assert(sizeof(struct message) <= UINT16_MAX, "offsets fit struct field");

/* What is left of the input: ptr .. end. */
struct cursor {
	const uint8_t *ptr, *end;
};

static uint64_t *
number_at(void *base, const struct field *f)
{
	return (uint64_t *)(void *)((char *)base + f->offset);
}

static const uint64_t *
const_number_at(const void *base, const struct field *f)
{
	return (const uint64_t *)(const void *)((const char *)base + f->offset);
}

/* Reads a number that ends with the byte stop, which is taken too. */
static inline enum proto_err
read_number(struct cursor *c, uint8_t stop, uint64_t *value)
{
	const uint8_t *p = c->ptr, *limit = c->end - p > NUMBER_DIGITS ? p + NUMBER_DIGITS : c->end;
	uint64_t v = 0;
	unsigned digit;

	if (c->end - p >= 2 && p[1] == stop && (digit = (unsigned)*p - '0') <= 9) { /* most have one digit */
		c->ptr = p + 2;
		*value = digit;
		return PROTO_OK;
	}
	for (; p < limit && (digit = (unsigned)*p - '0') <= 9; p++)
		v = v * 10 + digit;
	if (v > MSG_NUMBER_MAX || (p - c->ptr > 1 && *c->ptr == '0'))
		return PROTO_MSG_SYNTAX;
	if (p == c->end)
		return PROTO_MORE;
	if (p == c->ptr || *p != stop) /* which a digit too many is not either */
		return PROTO_MSG_SYNTAX;
	c->ptr = p + 1;
	*value = v;
	return PROTO_OK;
}

static const uint8_t *
skip_digits(const uint8_t *p, const uint8_t *end)
{
	while (p < end && *p >= '0' && *p <= '9')
		p++;
	return p;
}

/* digits [ "." digits ] [ ( "e" | "E" ) [ "+" | "-" ] digits ], no leading zero: what a server makes of a double >= 0. */
static bool
is_fraction(const uint8_t *p, const uint8_t *end)
{
	const uint8_t *start = p;

	p = skip_digits(p, end);
	if (p == start || (*start == '0' && p - start > 1))
		return false;
	if (p < end && *p == '.') {
		start = ++p;
		p = skip_digits(p, end);
		if (p == start)
			return false;
	}
	if (p < end && (*p == 'e' || *p == 'E')) {
		p++;
		if (p < end && (*p == '+' || *p == '-'))
			p++;
		start = p;
		p = skip_digits(p, end);
		if (p == start)
			return false;
	}
	return p == end;
}

/* Likewise for a fraction, kept as its text. */
static enum proto_err
read_fraction(struct cursor *c, uint8_t stop, struct view *text)
{
	const uint8_t *p = c->ptr;

	while (p < c->end && *p != stop) {
		if (p - c->ptr == FRACTION_MAX || *p <= ' ')
			return PROTO_MSG_SYNTAX;
		p++;
	}
	if (p == c->end)
		return PROTO_MORE;
	if (!is_fraction(c->ptr, p))
		return PROTO_MSG_SYNTAX;
	*text = (struct view){ c->ptr, (size_t)(p - c->ptr) };
	c->ptr = p + 1;
	return PROTO_OK;
}

/* Reads the name with its space and finds its row. */
static enum proto_err
read_name(struct cursor *c, enum msg_dir dir, enum msg_flavour flavour, const struct row **found)
{
	const uint8_t *name = c->ptr, *p = name;
	size_t len;

	while (p < c->end && ((*p >= 'a' && *p <= 'z') || *p == '_')) {
		if (p - name == sizeof(union longest_name))
			return PROTO_MSG_UNKNOWN;
		p++;
	}
	if (p == c->end)
		return PROTO_MORE;
	len = (size_t)(p - name);
	for (const struct row *row = dir == MSG_C2S ? rows : rows + ROW_S_DOWNLOAD_PBS; row < rows + NROWS; row++) {
		if (row->dir != dir || row->name_len != len || (row->flavours & 1U << flavour) == 0 || memcmp(row->name, name, len) != 0)
			continue;
		if (*p != ' ')
			return PROTO_MSG_SYNTAX;
		c->ptr = p + 1;
		*found = row;
		return PROTO_OK;
	}
	return PROTO_MSG_UNKNOWN;
}

/* What a field adds to the length of the body.  No sum overflows: path and token are small, and no row has a second size beside another kind. */
static inline uint64_t
field_body_len(unsigned kind, uint64_t value, bool compressed)
{
	switch (kind) {
	case FIELD_PATH_SIZE:
	case FIELD_TOKEN_SIZE:
	case FIELD_SIZE:
		return value;
	case FIELD_UNCOMPRESSED_SIZE:
		return compressed ? 0 : value;
	case FIELD_COMPRESSED_SIZE:
		return compressed ? value : 0;
	default:
		return 0;
	}
}

/* Reads the fields of a row up to and including the LF, and adds up the length of the body. */
static enum proto_err
read_fields(struct cursor *c, const struct row *row, struct message *m)
{
	bool compressed = false;
	enum proto_err err;

	for (const struct field *f = row->fields; f->kind != FIELD_END; f++) {
		uint8_t stop = f[1].kind == FIELD_END ? '\n' : ' ';
		uint64_t value;

		if (f->kind == FIELD_FRACTION) {
			err = read_fraction(c, stop, (struct view *)(void *)((char *)m + f->offset));
			if (err != PROTO_OK)
				return err;
			continue;
		}
		err = read_number(c, stop, &value);
		if (err != PROTO_OK)
			return err;
		if (f->kind == FIELD_NUMBER) { /* most are: any will do */
			*number_at(m, f) = value;
			continue;
		}
		if (value < kinds[f->kind].min)
			return PROTO_MSG_SYNTAX;
		if (value > kinds[f->kind].max)
			return kinds[f->kind].over;
		if (f->kind == FIELD_COMPRESSED)
			compressed = value != 0;
		else if (f->kind == FIELD_COMPRESSED_SIZE && value != 0 && !compressed)
			return PROTO_MSG_SYNTAX;
		m->body_len += field_body_len(f->kind, value, compressed);
		*number_at(m, f) = value;
	}
	return PROTO_OK;
}

/* The row of a message somebody filled in.  A message that only the other flavour has is taken from there. */
static const struct row *
row_of(const struct message *m)
{
	uint8_t number = row_by_type[m->type][m->flavour];

	if (number == 0)
		number = row_by_type[m->type][m->flavour == MSG_PBS ? MSG_FLX : MSG_PBS];
	return &rows[number - 1];
}

enum proto_err
msg_parse_head(enum msg_dir dir, enum msg_flavour flavour, const uint8_t *buf, size_t len, struct message *m)
{
	const size_t limit = dir == MSG_C2S ? MSG_HEAD_MAX_C2S : MSG_HEAD_MAX;
	const struct row *row;
	struct cursor c;
	enum proto_err err;

	if (len == 0) /* buf may be NULL */
		return PROTO_MORE;
	memset(m, 0, sizeof(*m));
	c = (struct cursor){ buf, buf + (len < limit ? len : limit) };
	err = read_name(&c, dir, flavour, &row);
	if (err == PROTO_OK)
		err = read_fields(&c, row, m);
	if (err != PROTO_OK)
		return len >= limit && memchr(buf, '\n', limit) == NULL ? PROTO_MSG_HEAD_TOO_LONG : err;
	m->type = (enum msg_type)row->type;
	m->flavour = flavour;
	m->head_len = (size_t)(c.ptr - buf);
	return PROTO_OK;
}

enum proto_err
msg_parse(enum msg_dir dir, enum msg_flavour flavour, const uint8_t *buf, size_t len, struct message *m, struct view *body)
{
	enum proto_err err = msg_parse_head(dir, flavour, buf, len, m);

	if (err == PROTO_MORE) /* the message is whole, so its LF will never come */
		return PROTO_MSG_SYNTAX;
	if (err != PROTO_OK)
		return err;
	if (m->body_len != len - m->head_len)
		return PROTO_MSG_LENGTH;
	*body = (struct view){ buf + m->head_len, len - m->head_len };
	return PROTO_OK;
}

const char *
msg_name(enum msg_type type)
{
	return row_of(&(struct message){ .type = type })->name;
}

bool
msg_has_token(enum msg_type type)
{
	return type == MSG_C_BIND || type == MSG_C_REFRESH;
}

bool
msg_tells_token(const uint8_t *buf, size_t len)
{
	for (size_t i = 0; len >= MSG_TELLS_BY && i < NROWS; i++)
		if (msg_has_token((enum msg_type)rows[i].type) && memcmp(buf, rows[i].name, rows[i].name_len) == 0 && buf[rows[i].name_len] == ' ')
			return true;
	return false;
}

uint64_t
msg_body_len(const struct message *m)
{
	bool compressed = false;
	uint64_t total = 0;

	for (const struct field *f = row_of(m)->fields; f->kind != FIELD_END; f++) {
		compressed = compressed || (f->kind == FIELD_COMPRESSED && *const_number_at(m, f) != 0);
		if (f->kind != FIELD_FRACTION)
			total += field_body_len(f->kind, *const_number_at(m, f), compressed);
	}
	return total;
}

static unsigned
count_digits(uint64_t value)
{
	unsigned n = 1;

	for (; value >= 10000; value /= 10000)
		n += 4;
	return n + (value >= 10) + (value >= 100) + (value >= 1000);
}

/* Most numbers of a head have one digit, the others are versions and sizes: written from their end, two digits at once. */
static inline char *
put_number(char *out, uint64_t value)
{
	static const char pairs[] = "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849"
				    "5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";
	char *end, *p;

	if (value < 10) {
		*out = (char)('0' + value);
		return out + 1;
	}
	p = end = out + count_digits(value);
	for (; value >= 10; value /= 100)
		memcpy(p -= 2, pairs + 2 * (value % 100), 2);
	if (p > out)
		*out = (char)('0' + value);
	return end;
}

static char *
put_fraction(char *out, struct view text)
{
	size_t len = text.len < FRACTION_MAX ? text.len : FRACTION_MAX;

	if (len == 0)
		return put_number(out, 0);
	memcpy(out, text.ptr, len);
	return out + len;
}

/* The head that m was parsed from, with the session ident that m has now.  It is no longer than one that is written from numbers, for those
 * are all that parse takes. */
static size_t
copy_head(const struct message *m, size_t name_len, char *out)
{
	const uint8_t *end = m->head + m->head_len, *rest = skip_digits(m->head + name_len + 1, end);
	char *p;

	memcpy(out, m->head, name_len + 1);
	p = put_number(out + name_len + 1, m->session_ident);
	memcpy(p, rest, (size_t)(end - rest));
	return (size_t)(p - out) + (size_t)(end - rest);
}

size_t
msg_format_head(const struct message *m, char *out)
{
	const struct row *row = row_of(m);
	char *p = out;

	if (m->head != NULL && row->fields[0].offset == offsetof(struct message, session_ident))
		return copy_head(m, row->name_len, out);
	memcpy(p, row->name, row->name_len);
	p += row->name_len;
	for (const struct field *f = row->fields; f->kind != FIELD_END; f++) {
		*p++ = ' ';
		if (f->kind == FIELD_FRACTION)
			p = put_fraction(p, *(const struct view *)(const void *)((const char *)m + f->offset));
		else
			p = put_number(p, *const_number_at(m, f));
	}
	*p++ = '\n';
	return (size_t)(p - out);
}

/* The heads of entries, all plain numbers; the size of the changeset comes after them. */
#define E(name, member) { FIELD_NUMBER, offsetof(struct name, member) },
#define ENTRY(name, fields) static const struct field name##_fields[] = { fields { FIELD_END, 0 } };
#include "protocol/message.def"
#undef ENTRY
#undef E

static enum proto_err
entry_next(struct view *rest, const struct field *fields, void *entry, struct view *changeset)
{
	struct cursor c;
	uint64_t size;

	if (rest->len == 0)
		return PROTO_MORE;
	c = (struct cursor){ rest->ptr, rest->ptr + rest->len };
	for (const struct field *f = fields; f->kind != FIELD_END; f++)
		if (read_number(&c, ' ', number_at(entry, f)) != PROTO_OK)
			return PROTO_MSG_ENTRY;
	if (read_number(&c, ' ', &size) != PROTO_OK || size > (uint64_t)(c.end - c.ptr))
		return PROTO_MSG_ENTRY;
	*changeset = (struct view){ c.ptr, (size_t)size };
	c.ptr += size;
	*rest = (struct view){ c.ptr, (size_t)(c.end - c.ptr) };
	return PROTO_OK;
}

static size_t
entry_format(const struct field *fields, const void *entry, struct view changeset, char *out)
{
	char *p = out;

	for (const struct field *f = fields; f->kind != FIELD_END; f++) {
		p = put_number(p, *const_number_at(entry, f));
		*p++ = ' ';
	}
	p = put_number(p, changeset.len);
	*p++ = ' ';
	return (size_t)(p - out);
}

enum proto_err
upload_entry_next(struct view *rest, struct upload_entry *e)
{
	return entry_next(rest, upload_entry_fields, e, &e->changeset);
}

enum proto_err
download_entry_next(struct view *rest, struct download_entry *e)
{
	return entry_next(rest, download_entry_fields, e, &e->changeset);
}

size_t
upload_entry_format(const struct upload_entry *e, char *out)
{
	return entry_format(upload_entry_fields, e, e->changeset, out);
}

size_t
download_entry_format(const struct download_entry *e, char *out)
{
	return entry_format(download_entry_fields, e, e->changeset, out);
}

static const char *const subprotocols[] = {
	[MSG_PBS] = "com.mongodb.realm-sync",
	[MSG_FLX] = "com.mongodb.realm-query-sync",
};

#define SLASH_BELOW 8	      /* versions below it are written "/N"; both spellings of any version are read */
#define VERSION_MAX INT32_MAX /* peers keep it in an int */
#define VERSION_DIGITS 10     /* of VERSION_MAX */

static bool
parse_version(const uint8_t *p, const uint8_t *end, unsigned *version)
{
	const ptrdiff_t len = end - p;
	uint64_t value = 0;

	if (len < 1 || len > VERSION_DIGITS || (*p == '0' && len > 1))
		return false;
	for (; p < end; p++) {
		if (*p < '0' || *p > '9')
			return false;
		value = value * 10 + (uint64_t)(*p - '0');
	}
	*version = (unsigned)value;
	return value <= VERSION_MAX;
}

enum proto_err
msg_parse_subprotocol(struct view text, struct msg_subprotocol *sp)
{
	for (unsigned flavour = MSG_PBS; flavour <= MSG_FLX; flavour++) {
		const size_t len = strlen(subprotocols[flavour]);
		const uint8_t *from, *end, *dash;
		bool good;

		if (text.len <= len || memcmp(text.ptr, subprotocols[flavour], len) != 0 ||
		    (text.ptr[len] != '#' && text.ptr[len] != '/'))
			continue;
		from = text.ptr + len + 1;
		end = text.ptr + text.len;
		dash = memchr(from, '-', (size_t)(end - from));
		good = parse_version(from, dash != NULL ? dash : end, &sp->min) &&
		       parse_version(dash != NULL ? dash + 1 : from, end, &sp->max);
		sp->flavour = (enum msg_flavour)flavour;
		return good && sp->min <= sp->max ? PROTO_OK : PROTO_MSG_SYNTAX;
	}
	return PROTO_MSG_UNKNOWN;
}

size_t
msg_format_subprotocol(enum msg_flavour flavour, unsigned version, char *out)
{
	size_t len = strlen(subprotocols[flavour]);
	char *p = out + len;

	memcpy(out, subprotocols[flavour], len);
	*p++ = version < SLASH_BELOW ? '/' : '#';
	p = put_number(p, version);
	*p = '\0';
	return (size_t)(p - out);
}
