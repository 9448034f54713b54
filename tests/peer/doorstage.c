/* See doorstage.h. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/harness.h"

#include "tests/badhost/orders.h"
#include "tests/peer/app.h"
#include "tests/peer/badhost.h"
#include "tests/peer/child.h"
#include "tests/peer/doorstage.h"
#include "tests/peer/rawsock.h"

#define STEP_US 10000
#define STEPS 1000 /* ten seconds */
#define WRITTEN_MAX (1 << 20)

struct doorstage stage;

/* ---- starting ---- */

static unsigned
port_of(struct child *c)
{
	unsigned port = 0;
	const char *line = c != NULL ? child_line(c) : NULL;

	return line != NULL && sscanf(line, "port %u", &port) == 1 ? port : 0;
}

/* A file that only its owner can read. */
static bool
put_file(const char *name, const char *text)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", stage.dir, name);
	f = fopen(path, "we");
	return f != NULL && fchmod(fileno(f), 0600) == 0 && fputs(text, f) >= 0 && fclose(f) == 0;
}

static const char *
or_nothing(const char *text)
{
	return text != NULL ? text : "";
}

static void
write_config(const struct doorstage_plan *p)
{
	snprintf(stage.config, sizeof stage.config,
		 "%s[upstream]\nurl = ws://127.0.0.1:%u\napi_url = http%s://127.0.0.1:%u\nprobe_interval = 100ms\nping_interval = 300ms\nbackoff_min = 50ms\n"
		 "connect_timeout = 3s\n%s[replay]\nabsent_quiet = %s\n[monitor]\nlisten = 127.0.0.1:0\n[buffer]\n%s%s%s\n[limits]\n%s",
		 or_nothing(p->listener), stage.link_port, p->certificate != NULL ? "s" : "", stage.api.port, or_nothing(p->upstream),
		 p->absent_quiet != NULL ? p->absent_quiet : "300ms",
		 p->key ? "key_file = " : "", p->key ? stage.dir : "", p->key ? "/key" : "", or_nothing(p->more));
}

static bool
start_daemon(void)
{
	char orders[512];

	snprintf(orders, sizeof orders, "%s/orders", stage.dir);
	if (!daemon_start_with(&stage.d, stage.dir, stage.config, stage.orders != NULL ? orders : NULL))
		return false;
	app.port = stage.d.port;
	return true;
}

bool
doorstage_start(const struct doorstage_plan *p)
{
	char target[64], path[512], status[700];

	memset(&stage, 0, sizeof stage);
	snprintf(stage.dir, sizeof stage.dir, "%s", harness_tmpdir());
	snprintf(path, sizeof path, "%s/conf.d", stage.dir);
	snprintf(status, sizeof status, "[holdfast]\nstatus_interval = 100ms\nlog_level = debug\nstatus_file = %s/status.json\n", stage.dir);
	if (mkdir(path, 0700) != 0 || !put_file("conf.d/status.ini", status) || !put_file("key", "0123456789abcdef0123456789abcdef") ||
	    !appservices_start(&stage.api, p->certificate, p->certificate_key))
		return false;
	snprintf(path, sizeof path, "%s/orders", stage.dir);
	if (p->clocks && (stage.orders = badhost_orders(path)) == NULL)
		return false;
	stage.up = child_start("upstream", (const char *const[]){ NULL });
	snprintf(target, sizeof target, "127.0.0.1:%u", port_of(stage.up));
	stage.link = child_start("linkproxy", (const char *const[]){ target, NULL });
	stage.link_port = port_of(stage.link);
	write_config(p);
	return stage.link_port != 0 && start_daemon();
}

/* ---- the link, and the daemon's life ---- */

bool
doorstage_cut(void)
{
	unsigned before = daemon_count(&stage.d, "state=down");

	if (child_ask(stage.link, "refuse") == NULL)
		return false;
	for (int i = 0; i < STEPS && daemon_count(&stage.d, "state=down") == before; i++)
		usleep(STEP_US);
	return daemon_count(&stage.d, "state=down") > before;
}

bool
doorstage_heal(void)
{
	return doorstage_ok(child_ask(stage.link, "up"));
}

static bool
start_again(void)
{
	char from[512], to[512];

	snprintf(from, sizeof from, "%s/log", stage.dir);
	snprintf(to, sizeof to, "%s/log.before", stage.dir);
	return rename(from, to) == 0 && start_daemon();
}

bool
doorstage_restart(void)
{
	bool told = doorstage_tells();

	return daemon_stop(&stage.d) && !told && start_again();
}

bool
doorstage_change(const char *old, const char *new)
{
	char before[sizeof stage.config], *out = stage.config, *end = stage.config + sizeof stage.config;
	const char *from = before, *at;

	memcpy(before, stage.config, sizeof before);
	for (; (at = strstr(from, old)) != NULL; from = at + strlen(old))
		out += snprintf(out, (size_t)(end - out), "%.*s%s", (int)(at - from), from, new);
	snprintf(out, (size_t)(end - out), "%s", from);
	return out > stage.config && doorstage_restart();
}

void
doorstage_clocks(long long wall_s, long long boot_s)
{
	stage.orders->real_ms = wall_s * 1000;
	stage.orders->mono_ms = boot_s * 1000;
}

bool
doorstage_crash(void)
{
	daemon_kill(&stage.d);
	return daemon_count(&stage.d, "SECRET") == 0 && start_again();
}

/* ---- secrets ---- */

static bool
is_secret(const char *text, const char *where)
{
	bool found = strstr(text, "SECRET") != NULL || strstr(text, "eyJ") != NULL;

	if (found)
		printf("# a secret in %s\n", where);
	return found;
}

static char written[WRITTEN_MAX];

static bool
in_output(FILE *f, const char *where)
{
	size_t n = f != NULL ? fread(written, 1, sizeof written - 1, f) : 0;

	written[n] = '\0';
	return is_secret(written, where);
}

static FILE *
ctl(const char *command)
{
	char run[1200];

	snprintf(run, sizeof run, "'%s' -d '%s/state' %s 2>&1", daemon_ctl(), stage.dir, command);
	return popen(run, "re");
}

static bool
in_control(const char *command)
{
	FILE *f = ctl(command);
	bool found = in_output(f, command);

	if (f != NULL)
		pclose(f);
	return found;
}

/* A page of the monitor is in app.body then. */
static bool
ask_monitor(const char *path)
{
	const char *line = daemon_logged(&stage.d, "event=monitor ");
	unsigned port = 0, of_relay = app.port, status;

	if (line == NULL || sscanf(strrchr(line, ':'), ":%u", &port) != 1)
		return false;
	app.port = port;
	status = app_ask("GET", path, NULL, "");
	app.port = of_relay;
	return status == 200;
}

static bool
in_monitor(const char *path)
{
	return !ask_monitor(path) || is_secret(app.body, path);
}

bool
doorstage_measured(const char *text)
{
	for (int i = 0; i < STEPS; i++) {
		if (!ask_monitor("/metrics"))
			return false;
		if (strstr(app.body, text) != NULL)
			return true;
		usleep(STEP_US);
	}
	printf("# not measured: %s\n", text);
	return false;
}

static bool
in_file(const char *name)
{
	char path[512];
	FILE *f;
	bool found;

	snprintf(path, sizeof path, "%s/%s", stage.dir, name);
	f = fopen(path, "re");
	found = in_output(f, name);
	if (f != NULL)
		fclose(f);
	return found;
}

bool
doorstage_tells(void)
{
	static const char *const commands[] = { "status", "sessions", "--json status", "--json sessions", "--json buffer list", "config" };
	static const char *const pages[] = { "/metrics", "/status.json", "/" };
	bool found = daemon_count(&stage.d, "SECRET") + daemon_count(&stage.d, "eyJ") > 0 || in_file("status.json");

	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
		found = in_control(commands[i]) || found;
	for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++)
		found = in_monitor(pages[i]) || found;
	return found;
}

bool
doorstage_stop(void)
{
	bool told = doorstage_tells();
	bool well = daemon_stop(&stage.d) && daemon_count(&stage.d, "event=panic") == 0;

	child_stop(stage.link);
	child_stop(stage.up);
	appservices_stop(&stage.api);
	if (stage.orders != NULL)
		badhost_forget(stage.orders);
	return well && !told && daemon_count(&stage.d, "SECRET") == 0;
}

/* ---- devices, and what becomes of what they write ---- */

struct child *
doorstage_device(const char *token)
{
	char url[128], state[512];
	struct child *c;

	snprintf(url, sizeof url, "ws://127.0.0.1:%u%s/realm-sync", stage.d.port, APP_PATH);
	snprintf(state, sizeof state, "%s/device", stage.dir);
	c = child_start("client", (const char *const[]){ "--url", url, "--state", state, "--token", token, NULL });
	if (c == NULL || child_ask(c, "device a path=/p") == NULL || child_ask(c, "connect a") == NULL)
		return NULL;
	return c;
}

bool
doorstage_ok(const char *answer)
{
	if (answer != NULL && strncmp(answer, "ok", 2) == 0)
		return true;
	printf("# %s\n", answer != NULL ? answer : "no answer");
	return false;
}

struct child *
doorstage_go_offline(void)
{
	struct child *c;

	if (!app_log_in() || (c = doorstage_device(app.access)) == NULL || !doorstage_ok(child_ask(c, "write a 2")) ||
	    !doorstage_ok(child_ask(c, "wait a idle 10000")) || !doorstage_measured("\nholdfast_backlog_records 0\n") || !doorstage_cut() || !child_stop(c) || app_renew() != 201 ||
	    !doorstage_ok(child_ask(stage.up, "token deny %s", app.own)))
		return NULL;
	c = doorstage_device(app.own);
	if (c == NULL || !doorstage_ok(child_ask(c, "wait a bound 10000")) || !doorstage_ok(child_ask(c, "write a 3")) ||
	    !doorstage_ok(child_ask(c, "wait a downloaded 10000")))
		return NULL;
	return daemon_logged(&stage.d, "backlog_records=3") != NULL ? c : NULL;
}

bool
doorstage_has(unsigned changesets)
{
	const char *status = NULL;
	char want[64];

	snprintf(want, sizeof want, " changesets=%u ", changesets);
	for (int i = 0; i < STEPS; i++) {
		status = child_ask(stage.up, "status");
		if (status == NULL || strstr(status, want) != NULL)
			return status != NULL;
		usleep(STEP_US);
	}
	printf("# want%s, got %s\n", want, status);
	return false;
}

bool
doorstage_listed(const char *text)
{
	for (int i = 0; i < STEPS / 5; i++) {
		FILE *f = ctl("--json buffer list");
		size_t n = f != NULL ? fread(written, 1, sizeof written - 1, f) : 0;

		written[n] = '\0';
		if (f != NULL)
			pclose(f);
		if (strstr(written, text) != NULL)
			return true;
		usleep(5 * STEP_US);
	}
	printf("# not listed: %s\n# %s\n", text, written);
	return false;
}
