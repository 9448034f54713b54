/* See plot.h. */
#include <err.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "tests/bench/load/plot.h"

#define BAR 12.0   /* all in user units */
#define GAP 14.0
#define HEIGHT 260.0
#define LEFT 50.0
#define TOP 60.0
#define BOTTOM 150.0
#define LEGEND 170.0

static const char *const colours[PLOT_SERIES] = { "#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd", "#8c564b", "#7f7f7f" };

void
plot_bar(struct plot *p, const char *group, const char *series, double value)
{
	if (p->n == PLOT_BARS)
		return;
	snprintf(p->bar[p->n].group, sizeof(p->bar[p->n].group), "%s", group);
	p->bar[p->n].series = series;
	p->bar[p->n++].value = value;
}

/* The number of a series, by the order in which they first come. */
static size_t
series_of(const struct plot *p, const char *series, const char *known[PLOT_SERIES], size_t *nknown)
{
	(void)p;
	for (size_t i = 0; i < *nknown; i++)
		if (strcmp(known[i], series) == 0)
			return i;
	if (*nknown < PLOT_SERIES)
		known[(*nknown)++] = series;
	return *nknown - 1;
}

static double
highest(const struct plot *p)
{
	double most = 1;

	for (size_t i = 0; i < p->n; i++)
		most = p->bar[i].value > most ? p->bar[i].value : most;
	return most;
}

static void
scale(FILE *f, double width, double top)
{
	double step = top > 30 ? 10 : top > 3 ? 1 : top > 1.5 ? 0.5 : 0.25;

	for (double v = 0; v <= top; v += step) {
		double y = TOP + HEIGHT * (1 - v / top);

		fprintf(f, "<line x1='%g' x2='%g' y1='%g' y2='%g' stroke='%s'/>\n", LEFT, width - 10, y, y, v == 1 ? "#000" : "#ddd");
		fprintf(f, "<text x='%g' y='%g' text-anchor='end'>%g</text>\n", LEFT - 6, y + 4, v);
	}
}

static double
bars(FILE *f, const struct plot *p, double top, const char *known[PLOT_SERIES], size_t *nknown)
{
	double x = LEFT + GAP;

	for (size_t i = 0; i < p->n; i++) {
		double h = HEIGHT * p->bar[i].value / top;
		size_t series = series_of(p, p->bar[i].series, known, nknown);
		bool first = i == 0 || strcmp(p->bar[i].group, p->bar[i - 1].group) != 0;

		if (first && i > 0)
			x += GAP;
		if (first && f != NULL)
			fprintf(f, "<text transform='translate(%g,%g) rotate(55)'>%s</text>\n", x + 4, TOP + HEIGHT + 14, p->bar[i].group);
		if (f != NULL)
			fprintf(f, "<rect x='%g' y='%g' width='%g' height='%g' fill='%s'/>\n", x, TOP + HEIGHT - h, BAR - 1, h,
				colours[series]);
		x += BAR;
	}
	return x;
}

void
plot_write(const struct plot *p, const char *file, const char *title)
{
	FILE *f = fopen(file, "we");
	const char *known[PLOT_SERIES];
	size_t nknown = 0;
	double top = highest(p) * 1.05, width = bars(NULL, p, top, known, &nknown) + 120;

	if (width < LEFT + LEGEND * (double)nknown)
		width = LEFT + LEGEND * (double)nknown;
	if (f == NULL)
		err(1, "%s", file);
	fprintf(f, "<svg xmlns='http://www.w3.org/2000/svg' width='%g' height='%g' font-family='sans-serif' font-size='11'>\n", width,
		TOP + HEIGHT + BOTTOM);
	fprintf(f, "<rect width='100%%' height='100%%' fill='#fff'/>\n<text x='%g' y='22' font-size='15'>%s</text>\n", LEFT, title);
	scale(f, width, top);
	(void)bars(f, p, top, known, &nknown);
	for (size_t i = 0; i < nknown; i++)
		fprintf(f, "<rect x='%g' y='32' width='11' height='11' fill='%s'/><text x='%g' y='42'>%s</text>\n", LEFT + LEGEND * (double)i,
			colours[i], LEFT + LEGEND * (double)i + 16, known[i]);
	fprintf(f, "</svg>\n");
	if (fclose(f) != 0)
		err(1, "%s", file);
}
