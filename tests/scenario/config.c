/* Writes the INI file of the daemons; see config.h. Does not know which options exist: the daemon says so.
 *
 * The values below are the first ones of every scenario. Real times are minutes; here an outage has to be noticed, and ended,
 * within a fraction of a second, and still long enough for a build with sanitizers on a busy machine. */
#include <stdio.h>
#include <string.h>

#include "tests/scenario/config.h"

#define SETTINGS_MAX 64

static struct setting {
	char key[64], value[512];
} setting[SETTINGS_MAX] = {
	{ "holdfast.state_dir", "" },
	{ "holdfast.log_level", "debug" },
	{ "holdfast.user", "root" }, /* of use only where the suite is run by root, who owns the folders */
	{ "holdfast.status_interval", "200ms" },
	{ "listener.address", "127.0.0.1:0" },
	{ "listener.offline_admit", "any" },
	{ "upstream.backoff_min", "20ms" },
	{ "upstream.backoff_max", "200ms" },
	{ "upstream.probe_interval", "50ms" },
	{ "upstream.connect_timeout", "2s" },
	{ "upstream.ping_interval", "200ms" },
	{ "upstream.pong_timeout", "1s" },
	{ "upstream.reconnect_rate", "1000" },
	{ "buffer.linger", "50ms" },
	{ "limits.handshake_timeout", "2s" },
};

bool
config_set(const char *key, const char *value)
{
	struct setting *s = setting, *end = setting + SETTINGS_MAX;

	if (strchr(key, '.') == NULL || strlen(key) >= sizeof s->key || strlen(value) >= sizeof s->value)
		return false;
	while (s < end && s->key[0] != '\0' && strcmp(s->key, key) != 0)
		s++;
	if (s == end)
		return false;
	snprintf(s->key, sizeof s->key, "%s", key);
	snprintf(s->value, sizeof s->value, "%s", value);
	return true;
}

/* All settings of the section that setting n is the first of. */
static void
write_section(FILE *f, int n)
{
	size_t len = strcspn(setting[n].key, ".") + 1;

	for (int i = 0; i < n; i++) {
		if (strncmp(setting[i].key, setting[n].key, len) == 0)
			return; /* written already */
	}
	fprintf(f, "[%.*s]\n", (int)len - 1, setting[n].key);
	for (int i = n; i < SETTINGS_MAX; i++) {
		if (strncmp(setting[i].key, setting[n].key, len) == 0 && setting[i].value[0] != '\0')
			fprintf(f, "%s = %s\n", setting[i].key + len, setting[i].value);
	}
}

bool
config_write(const char *path)
{
	FILE *f = fopen(path, "we");

	if (f == NULL)
		return false;
	for (int n = 0; n < SETTINGS_MAX && setting[n].key[0] != '\0'; n++)
		write_section(f, n);
	return fclose(f) == 0;
}
