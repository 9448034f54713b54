/* Writes the INI file of the daemons; see config.h. Does not know which options exist: the daemon says so.
 *
 * The values below are the first ones of every scenario. Real times are minutes; here an outage has to be noticed, and ended,
 * within a fraction of a second, and still long enough for a build with sanitizers on a busy machine. */
#include <stdio.h>
#include <string.h>

#include "tests/scenario/config.h"

#define SETTINGS_MAX 128

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

/* Is setting i in the section of setting n, whose key has len bytes up to its last dot? */
static bool
in_section(int i, int n, size_t len)
{
	return strncmp(setting[i].key, setting[n].key, len) == 0 && strchr(setting[i].key + len, '.') == NULL;
}

/* All settings of the section that setting n is the first of. */
static void
write_section(FILE *f, int n)
{
	const char *dot = strrchr(setting[n].key, '.'), *name = strchr(setting[n].key, '.');
	size_t len = (size_t)(dot - setting[n].key) + 1;

	for (int i = 0; i < n; i++) {
		if (in_section(i, n, len) && setting[i].value[0] != '\0')
			return; /* written already */
	}
	if (setting[n].value[0] == '\0')
		return; /* the section may begin with another */
	if (name == dot)
		fprintf(f, "[%.*s]\n", (int)len - 1, setting[n].key);
	else
		fprintf(f, "[%.*s %.*s]\n", (int)(name - setting[n].key), setting[n].key, (int)(dot - name) - 1, name + 1);
	for (int i = n; i < SETTINGS_MAX; i++) {
		if (in_section(i, n, len) && setting[i].value[0] != '\0')
			fprintf(f, "%s = %s\n", setting[i].key + len, setting[i].value);
	}
}

const char *
config_get(const char *key)
{
	for (int i = 0; i < SETTINGS_MAX && setting[i].key[0] != '\0'; i++)
		if (strcmp(setting[i].key, key) == 0)
			return setting[i].value;
	return "";
}

bool
config_inherit(const char *section, const char *name)
{
	size_t len = strlen(section);
	char key[128];

	for (int i = 0; i < SETTINGS_MAX && setting[i].key[0] != '\0'; i++) {
		const char *rest = setting[i].key + len;

		if (strncmp(setting[i].key, section, len) != 0 || rest[0] != '.' || strchr(rest + 1, '.') != NULL)
			continue;
		snprintf(key, sizeof key, "%s.%s%s", section, name, rest);
		if (!config_set(key, setting[i].value))
			return false;
	}
	return true;
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
