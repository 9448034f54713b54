/* The main of a fuzz target in `make check`: no fuzzer, just every input of the corpus, once.
 *
 * Arguments are folders or files; a folder that does not exist is empty. An input that crashes or trips a sanitizer ends the
 * program, which is what tests/run.sh reports; the last line printed names it. Each input lies in memory of exactly its own size,
 * so AddressSanitizer sees a read past its end, and the empty input is always tried. */
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static unsigned int replayed;

static void
replay(const char *name, const uint8_t *data, size_t len)
{
	printf("input %s (%zu bytes)\n", name, len);
	(void)LLVMFuzzerTestOneInput(data, len);
	replayed++;
}

static void
replay_file(const char *path, size_t len)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data = malloc(len > 0 ? len : 1);

	if (f == NULL || data == NULL || fread(data, 1, len, f) != len)
		err(1, "%s", path);
	(void)fclose(f);
	replay(path, data, len);
	free(data);
}

static void
replay_path(const char *path)
{
	struct stat st;
	struct dirent **names;
	char sub[PATH_MAX];
	int n;

	if (stat(path, &st) != 0) {
		if (errno != ENOENT)
			err(1, "%s", path);
		return;
	}
	if (!S_ISDIR(st.st_mode)) {
		replay_file(path, (size_t)st.st_size);
		return;
	}
	n = scandir(path, &names, NULL, alphasort);
	if (n < 0)
		err(1, "%s", path);
	for (int i = 0; i < n; i++) {
		if (names[i]->d_name[0] != '.') {
			(void)snprintf(sub, sizeof(sub), "%s/%s", path, names[i]->d_name);
			replay_path(sub);
		}
		free(names[i]);
	}
	free(names);
}

int
main(int argc, char **argv)
{
	uint8_t *nothing = malloc(1);

	if (nothing == NULL)
		err(1, "malloc");
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	replay("(empty)", nothing + 1, 0);
	free(nothing);
	for (int i = 1; i < argc; i++)
		replay_path(argv[i]);
	printf("%u passed, 0 failed\n", replayed);
	return 0;
}
