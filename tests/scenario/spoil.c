/* Opens the tables as buffer/FORMAT says, by Berkeley DB alone; see spoil.h. */
#include <stdio.h>
#include <string.h>

#include <db.h>

#include "tests/scenario/fail.h"
#include "tests/scenario/spoil.h"

static void
must(int ret, const char *what)
{
	if (ret != 0)
		fail("spoil: %s: %s", what, db_strerror(ret));
}

static void
spoil(DB_ENV *env, DB *db, uint64_t file_id)
{
	uint8_t id[8];
	DBT key = { .data = id, .size = sizeof id }, data = { 0 };
	DB_TXN *txn;
	DBC *c;

	for (int i = 0; i < 8; i++)
		id[i] = (uint8_t)(file_id >> (56 - 8 * i));
	must(env->txn_begin(env, NULL, &txn, 0), "begin");
	must(db->cursor(db, txn, &c, 0), "cursor");
	must(c->get(c, &key, &data, DB_SET_RANGE), "the oldest record");
	if (key.size < 8 || memcmp(key.data, id, 8) != 0)
		fail("spoil: file %llu has no record", (unsigned long long)file_id);
	((uint8_t *)data.data)[data.size - 1] ^= 0x40;
	must(c->put(c, &key, &data, DB_CURRENT), "put");
	must(c->close(c), "close");
	must(txn->commit(txn, 0), "commit");
}

void
spoil_record(const char *dir, uint64_t file_id, const char *table)
{
	char name[64];
	DB_ENV *env;
	DB *db;

	must(db_env_create(&env, 0), "environment");
	must(env->open(env, dir, DB_CREATE | DB_PRIVATE | DB_INIT_MPOOL | DB_INIT_LOG | DB_INIT_TXN | DB_RECOVER, 0600), "recovery");
	must(db_create(&db, env, 0), "table");
	snprintf(name, sizeof name, "%s.db", table);
	must(db->open(db, NULL, name, NULL, DB_BTREE, DB_AUTO_COMMIT, 0600), name);
	spoil(env, db, file_id);
	must(env->txn_checkpoint(env, 0, 0, DB_FORCE), "checkpoint");
	must(db->close(db, 0), "close");
	must(env->close(env, 0), "close");
}
