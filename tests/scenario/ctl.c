/* Turns what holdfastctl says into an answer as the other programs give it; see ctl.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "relay/json.h"

#include "tests/scenario/ctl.h"

#define OUTPUT_MAX (1u << 20)

/* Appends the fields of one object. */
static void
add_fields(char answer[TEXT_MAX], char *line)
{
	struct json_object o;

	if (!json_parse(line, &o))
		return;
	for (size_t i = 0; i < o.n; i++) {
		size_t len = strlen(answer), room = TEXT_MAX - len;
		int n = snprintf(answer + len, room, " %s=%s", o.field[i].key, o.field[i].value);

		if (n < 0 || (size_t)n >= room) {
			answer[len] = '\0';
			return;
		}
		for (char *p = answer + len + 1; *p != '\0'; p++)
			*p = *p == ' ' || *p == '\t' || *p == '\n' ? '_' : *p;
	}
}

bool
ctl_ask(const char *program, const char *state, const char *command, char answer[TEXT_MAX])
{
	char run[3 * TEXT_MAX], *text = malloc(OUTPUT_MAX), *last, *line, *rest;
	size_t n;
	int status;
	FILE *f;

	snprintf(run, sizeof run, "'%.4000s' -d '%.4000s' --json %s 2>>holdfastctl.log </dev/null", program, state, command);
	f = text == NULL ? NULL : popen(run, "re");
	if (f == NULL)
		abort();
	n = fread(text, 1, OUTPUT_MAX - 1, f);
	text[n] = '\0';
	status = pclose(f);
	status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	snprintf(answer, TEXT_MAX, "%s exit=%d", status <= 1 ? "ok" : "fail", status);
	while (n > 0 && text[n - 1] == '\n')
		text[--n] = '\0';
	last = strrchr(text, '\n');
	if (last != NULL)
		*last++ = '\0';
	add_fields(answer, last != NULL ? last : text);
	for (line = strtok_r(text, "\n", &rest); last != NULL && line != NULL; line = strtok_r(NULL, "\n", &rest))
		add_fields(answer, line);
	free(text);
	return status <= 1;
}
