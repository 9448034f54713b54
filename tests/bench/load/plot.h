/* A bar chart as SVG: groups of bars, one colour a series, each bar with its value. */
#ifndef TESTS_BENCH_LOAD_PLOT_H
#define TESTS_BENCH_LOAD_PLOT_H

#include <stddef.h>

#define PLOT_BARS 256
#define PLOT_SERIES 6

struct plot {
	size_t n;
	struct {
		char group[40];
		const char *series; /* borrowed */
		double value;
	} bar[PLOT_BARS];
};

struct plot_words {
	const char *title, *unit; /* unit: of the values */
	const char *command;	  /* what makes this plot */
	double mark;		  /* a value that is to be seen; 0: none */
};

/* Adds a bar; those of a group follow each other. */
void plot_bar(struct plot *p, const char *group, const char *series, double value);

/* Writes file, or ends the program. */
void plot_write(const struct plot *p, const char *file, const struct plot_words *w);

#endif
