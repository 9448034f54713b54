/* Upstream's errors, classified.  See verdict.h.
 *
 * Two tables, rows in the order of their names and numbers.  What is in neither is UNKNOWN: a code that a newer server invents must not stop
 * a file for good, nor be tried for ever without anybody being told. */
#include <string.h>

#include "relay/jsonread.h"
#include "relay/verdict.h"

/* Actions that say what to do.  ProtocolViolation, ApplicationBug and NoAction do not: the code decides. */
static const struct {
	const char *name;
	enum verdict verdict;
	bool resets;
} actions[] = {
	{ "ClientReset", VERDICT_REJECT, true },
	{ "ClientResetNoRecovery", VERDICT_REJECT, true },
	{ "DeleteRealm", VERDICT_REJECT, true },
	{ "LogOutUser", VERDICT_TOKEN, false },
	{ "MigrateSchema", VERDICT_GO_ON, false },
	{ "MigrateToFLX", VERDICT_CLIENT, false },
	{ "RefreshLocation", VERDICT_RETRY, false },
	{ "RefreshUser", VERDICT_TOKEN, false },
	{ "RevertToPBS", VERDICT_CLIENT, false },
	{ "Transient", VERDICT_RETRY, false },
	{ "Warning", VERDICT_GO_ON, false },
};

static const struct {
	uint16_t code;
	enum verdict at_ident, at_upload;
	bool resets;
} codes[] = {
	{ 100, VERDICT_RETRY, VERDICT_RETRY, false },	 /* also "too busy" */
	{ 113, VERDICT_CLIENT, VERDICT_CLIENT, false },	 /* switch to FLX, to PBS: the connection's way to say it */
	{ 114, VERDICT_CLIENT, VERDICT_CLIENT, false },
	{ 202, VERDICT_TOKEN, VERDICT_TOKEN, false },	 /* token expired */
	{ 203, VERDICT_TOKEN, VERDICT_TOKEN, false },	 /* bad authentication */
	{ 208, VERDICT_REJECT, VERDICT_UNKNOWN, true },	 /* bad file ident */
	{ 209, VERDICT_REJECT, VERDICT_REJECT, true },	 /* bad server version */
	{ 210, VERDICT_REJECT, VERDICT_REJECT, false },	 /* bad client version */
	{ 211, VERDICT_REJECT, VERDICT_UNKNOWN, true },	 /* diverging histories */
	{ 212, VERDICT_UNKNOWN, VERDICT_REJECT, false }, /* bad changeset */
	{ 216, VERDICT_UNKNOWN, VERDICT_REJECT, false }, /* bad origin file ident */
	{ 217, VERDICT_REJECT, VERDICT_UNKNOWN, true },	 /* no longer syncable */
	{ 222, VERDICT_REJECT, VERDICT_UNKNOWN, true },	 /* client file expired */
	{ 223, VERDICT_REJECT, VERDICT_UNKNOWN, false }, /* user mismatch */
	{ 225, VERDICT_UNKNOWN, VERDICT_REJECT, false }, /* invalid schema change */
	{ 230, VERDICT_UNKNOWN, VERDICT_REJECT, false }, /* write not allowed */
	{ 231, VERDICT_GO_ON, VERDICT_GO_ON, false },	 /* compensating write */
	{ 232, VERDICT_CLIENT, VERDICT_CLIENT, false },	 /* migration, either way */
	{ 234, VERDICT_CLIENT, VERDICT_CLIENT, false },
	{ 236, VERDICT_GO_ON, VERDICT_GO_ON, false },	 /* schema_version_changed */
};

#define NACTION (sizeof(actions) / sizeof(actions[0]))
#define NCODE (sizeof(codes) / sizeof(codes[0]))

static uint64_t
seconds_of(struct view body, const char *key)
{
	uint64_t s;

	if (!jsonread_get_u64(body, key, &s))
		return 0;
	return s < VERDICT_DELAY_MAX_MS / 1000 ? s * 1000 : VERDICT_DELAY_MAX_MS;
}

static void
read_delay(struct view body, struct verdict_error *e)
{
	e->delay_ms = seconds_of(body, "backoffIntervalSec");
	e->delay_max_ms = seconds_of(body, "backoffMaxDelaySec");
	if (e->delay_max_ms < e->delay_ms)
		e->delay_max_ms = e->delay_ms;
	if (!jsonread_get_u64(body, "backoffMultiplier", &e->delay_factor) || e->delay_factor == 0)
		e->delay_factor = 1;
}

void
verdict_read(const struct message *m, struct view body, bool clean, struct verdict_error *e)
{
	struct jsonread_value v;

	memset(e, 0, sizeof(*e));
	e->clean = clean;
	if (m->type == MSG_S_ERROR) {
		e->code = m->error.error_code;
		e->try_again = m->error.try_again;
		return;
	}
	e->code = m->json_error.error_code;
	if (!jsonread_get_bool(body, "tryAgain", &e->try_again))
		e->try_again = false;
	if (jsonread_get(body, "action", &v) && v.kind == JSONREAD_STRING)
		e->action = v.text;
	read_delay(body, e);
}

/* Row of the action, NACTION: it says nothing. */
static size_t
find_action(const struct verdict_error *e)
{
	size_t i = 0;

	while (i < NACTION && !view_eq(e->action, view_of(actions[i].name)))
		i++;
	return i;
}

static size_t
find_code(const struct verdict_error *e)
{
	size_t i = 0;

	while (i < NCODE && codes[i].code != e->code)
		i++;
	return i;
}

enum verdict
verdict_of(const struct verdict_error *e)
{
	size_t action = find_action(e), code = find_code(e);

	if (code < NCODE && codes[code].at_ident == VERDICT_GO_ON)
		return VERDICT_GO_ON;
	if (action < NACTION)
		return actions[action].verdict;
	if (e->try_again)
		return VERDICT_RETRY;
	if (code == NCODE)
		return VERDICT_UNKNOWN;
	return e->clean ? codes[code].at_upload : codes[code].at_ident;
}

enum verdict
verdict_of_status(unsigned status)
{
	if (status == 401 || status == 403)
		return VERDICT_TOKEN;
	return status >= 500 ? VERDICT_RETRY : VERDICT_UNKNOWN;
}

uint64_t
verdict_delay(struct verdict_delay *d, const struct verdict_error *e)
{
	if (e->delay_ms == 0 || d->ms == 0 || d->code != e->code)
		d->ms = e->delay_ms;
	else if (d->ms > e->delay_max_ms / e->delay_factor)
		d->ms = e->delay_max_ms;
	else
		d->ms *= e->delay_factor;
	d->code = e->code;
	return d->ms;
}

bool
verdict_resets_client(const struct verdict_error *e)
{
	size_t action = find_action(e), code = find_code(e);

	if (action < NACTION)
		return actions[action].resets;
	return !e->try_again && code < NCODE && codes[code].resets;
}

const char *
verdict_name(enum verdict v)
{
	static const char *const names[] = { "go_on", "retry", "token", "client", "reject", "unknown" };

	return names[v];
}
