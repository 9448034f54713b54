/* Queries of flexible sync in the store: their order, their places, what a transaction and a removal do to them, and what is refused. */
#include "buffer/be.h"
#include "buffer/record.h"

#include "tests/harness.h"
#include "tests/storekit.h"

static void
new_file(struct store *s, uint64_t n, uint64_t *id)
{
	struct store_file f = kit_file(n);

	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_file_put(s, &f), STORE_OK);
	CHECK_U64(store_commit(s, true), STORE_OK);
	*id = f.id;
}

static struct store_query
query(uint64_t version, uint64_t place, const char *text)
{
	return (struct store_query){ version, place, (const uint8_t *)text, (uint32_t)strlen(text) };
}

static void
put(struct store *s, uint64_t id, struct store_query q)
{
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_query_put(s, id, &q), STORE_OK);
	CHECK_U64(store_commit(s, true), STORE_OK);
}

static bool
list(void *arg, const struct store_query *q)
{
	char *out = arg;

	sprintf(out + strlen(out), "%llu@%llu=%.*s ", (unsigned long long)q->query_version, (unsigned long long)q->place, (int)q->len,
		(const char *)q->text);
	return true;
}

static void
check_all(struct store *s, uint64_t id, const char *want)
{
	char out[1024] = "";

	CHECK_U64(store_query_each(s, id, list, out), STORE_OK);
	CHECK_STR(out, want);
}

static void
check_barrier(struct store *s, uint64_t id, uint64_t from, uint64_t want)
{
	uint64_t place = 0;

	CHECK_U64(store_query_barrier(s, id, from, &place), STORE_OK);
	CHECK_U64(place, want);
}

TEST(order_and_places)
{
	const char *dir = harness_tmpdir();
	struct store *s = kit_open(dir);
	uint64_t a, b;

	CHECK(s != NULL);
	new_file(s, 1, &a);
	new_file(s, 2, &b);
	check_all(s, a, "");
	check_barrier(s, a, 0, UINT64_MAX);
	put(s, a, query(300, 12, "three"));
	put(s, a, query(0, 0, "zero"));
	put(s, a, query(2, 5, "two"));
	put(s, b, query(1, 7, ""));
	check_all(s, a, "0@0=zero 2@5=two 300@12=three ");
	check_all(s, b, "1@7= ");
	check_barrier(s, a, 1, 5);
	check_barrier(s, a, 5, 5);
	check_barrier(s, a, 6, 12);
	check_barrier(s, a, 13, UINT64_MAX);
	put(s, a, query(2, 5, "two")); /* again */
	put(s, a, query(300, 12, "new"));
	check_all(s, a, "0@0=zero 2@5=two 300@12=new ");
	store_close(s);
	CHECK((s = kit_open(dir)) != NULL);
	check_all(s, a, "0@0=zero 2@5=two 300@12=new ");
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_query_cut(s, a, 0, 2), STORE_OK);
	CHECK_U64(store_query_cut(s, b, 2, UINT64_MAX), STORE_OK);
	CHECK_U64(store_commit(s, true), STORE_OK);
	check_all(s, a, "300@12=new ");
	check_all(s, b, "1@7= ");
	store_close(s);
}

TEST(goes_with_its_transaction_and_file)
{
	struct store *s = kit_open(harness_tmpdir());
	struct store_query q = query(1, 1, "x");
	struct store_stat st;
	uint64_t a, b;

	CHECK(s != NULL);
	new_file(s, 1, &a);
	new_file(s, 2, &b);
	put(s, b, q);
	CHECK_U64(store_query_put(s, a, &q), STORE_INVALID);
	CHECK_U64(store_query_cut(s, a, 0, 9), STORE_INVALID);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_query_put(s, a, &q), STORE_OK);
	store_abort(s);
	check_all(s, a, "");
	put(s, a, q);
	CHECK_U64(store_stat(s, &st), STORE_OK);
	CHECK_U64(st.records, 0);
	CHECK_U64(st.files_with_backlog, 0);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_query_put(s, 99, &q), STORE_NOTFOUND);
	CHECK_U64(store_file_remove(s, a), STORE_OK);
	CHECK_U64(store_commit(s, true), STORE_OK);
	check_all(s, a, "");
	check_all(s, b, "1@1=x ");
	store_close(s);
}

TEST(bounds)
{
	static uint8_t text[STORE_QUERY_MAX + 1];
	struct store_query q = { 1, 1, text, STORE_QUERY_MAX + 1 };
	struct store *s = kit_open(harness_tmpdir());
	uint64_t a;

	CHECK(s != NULL);
	new_file(s, 1, &a);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_query_put(s, a, &q), STORE_INVALID);
	q.len = STORE_QUERY_MAX;
	CHECK_U64(store_query_put(s, a, &q), STORE_OK);
	CHECK_U64(store_commit(s, true), STORE_OK);
	store_set_bounds(s, STORE_QUERY_MAX, 0, 0);
	CHECK_U64(store_begin(s), STORE_OK);
	q.query_version = 2;
	text[0] = 1;
	CHECK_U64(store_query_put(s, a, &q), STORE_OK);
	store_set_bounds(s, 100, 0, 0);
	CHECK_U64(store_query_put(s, a, &q), STORE_OK); /* it is held */
	q.place = 2;
	CHECK_U64(store_query_put(s, a, &q), STORE_FULL);
	CHECK_U64(store_commit(s, true), STORE_OK);
	store_close(s);
}

/* Every byte of a record counts. */
TEST(record)
{
	struct store_query q = query(9, 8, "{\"A\":\"TRUEPREDICATE\"}"), out;
	uint8_t buf[200];
	size_t len = record_query_size(q.len);

	record_encode_query(buf, 5, &q);
	CHECK_U64(record_decode_query(buf, len, 5, 9, &out), STORE_OK);
	CHECK_U64(out.query_version, 9);
	CHECK_U64(out.place, 8);
	CHECK_MEM(out.text, out.len, q.text, q.len);
	CHECK_U64(record_decode_query(buf, len, 6, 9, &out), STORE_CORRUPT);
	CHECK_U64(record_decode_query(buf, len, 5, 8, &out), STORE_CORRUPT);
	for (size_t i = 0; i < len; i++) {
		buf[i] ^= 0x40;
		CHECK(record_decode_query(buf, len, 5, 9, &out) != STORE_OK);
		buf[i] ^= 0x40;
		CHECK(record_decode_query(buf, i, 5, 9, &out) != STORE_OK);
	}
}
