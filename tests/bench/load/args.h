/* The arguments of a bench: NAME=VALUE[,VALUE...], each with a default. */
#ifndef TESTS_BENCH_LOAD_ARGS_H
#define TESTS_BENCH_LOAD_ARGS_H

#include <stdbool.h>
#include <stddef.h>

#define ARGS_VALUES 16

struct args {
	const char *bench; /* its name */
	int argc;
	char **argv;
	bool used[64];
};

/* Sizes may end in K, M or G.  Both end the program when a value is no number. */
size_t args_numbers(struct args *a, const char *name, const char *otherwise, double out[ARGS_VALUES]);
double args_number(struct args *a, const char *name, double otherwise);

/* As it stands; lives as long as the program. */
const char *args_text(struct args *a, const char *name, const char *otherwise);

/* Whether word is among the values. */
bool args_word(struct args *a, const char *name, const char *otherwise, const char *word);

/* The command they came with, as far as it fits. */
void args_command(const struct args *a, char *out, size_t size);

/* Ends the program if there are arguments that nobody asked for. */
void args_end(const struct args *a);

#endif
