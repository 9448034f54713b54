/* See plot.h.  Nothing is measured of a font: TEXT_WIDTH is more than a letter of any usual one has, so nothing is cut off or written over. */
#include <err.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "tests/bench/load/plot.h"

#define FONT 11.0 /* all in user units */
#define TITLE 15.0
#define TEXT_WIDTH 0.62 /* of a letter, for a font of 1 */
#define BAR 15.0
#define GAP 18.0
#define HEIGHT 260.0
#define LEFT 64.0	/* the unit, and the numbers of the scale */
#define LEGEND_Y 62.0	/* below title and command */
#define LEGEND_ROW 18.0
#define VALUE_ROOM 34.0 /* for the value over the highest bar */
#define WIDTH_MIN 640.0
#define STEPS_MAX 8	/* lines of the scale */
#define LABEL_COS 0.82	/* names of groups go down by 35 degrees */
#define LABEL_SIN 0.57

/* Okabe and Ito's, which who is colour-blind can tell apart, too. */
static const char *const colours[PLOT_SERIES] = { "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#7f7f7f" };

struct layout {
	const char *series[PLOT_SERIES];
	size_t nseries;
	double width, height, plot_y; /* plot_y: the upper end of the scale */
	double step, top;	      /* of the scale */
};

void
plot_bar(struct plot *p, const char *group, const char *series, double value)
{
	if (p->n == PLOT_BARS)
		return;
	snprintf(p->bar[p->n].group, sizeof(p->bar[p->n].group), "%s", group);
	p->bar[p->n].series = series;
	p->bar[p->n++].value = value;
}

static double
text_width(const char *text, double font)
{
	return TEXT_WIDTH * font * (double)strlen(text);
}

static void
text(FILE *f, double x, double y, const char *more, const char *words)
{
	fprintf(f, "<text x='%g' y='%g' %s>", x, y, more);
	for (; *words != '\0'; words++) {
		if (*words == '&' || *words == '<')
			fputs(*words == '&' ? "&amp;" : "&lt;", f);
		else
			fputc(*words, f);
	}
	fprintf(f, "</text>\n");
}

/* ---- where things go ---- */

/* The number of a series, by the order in which they first come. */
static size_t
series_of(struct layout *l, const char *series)
{
	for (size_t i = 0; i < l->nseries; i++)
		if (strcmp(l->series[i], series) == 0)
			return i;
	if (l->nseries < PLOT_SERIES)
		l->series[l->nseries++] = series;
	return l->nseries - 1;
}

static bool
is_first(const struct plot *p, size_t i)
{
	return i == 0 || strcmp(p->bar[i].group, p->bar[i - 1].group) != 0;
}

static double
max(double a, double b)
{
	return a > b ? a : b;
}

/* Lines at 1, 2 or 5 times a power of ten, some of them, and the last one above everything. */
static void
set_scale(struct layout *l, double most)
{
	static const double next[] = { 2, 2.5, 2 };

	l->step = 0.001;
	for (size_t i = 0; most / l->step > STEPS_MAX; i++)
		l->step *= next[i % 3];
	for (l->top = l->step; l->top < most;)
		l->top += l->step;
}

/* Where entry i of the legend begins, in a new row when it does not fit; *end, *y: where the one before ends, then this one. */
static double
legend_place(const struct layout *l, size_t i, double *end, double *y)
{
	double w = 16 + text_width(l->series[i], FONT) + 12, x = *end;

	if (x + w > l->width && x > LEFT) {
		x = LEFT;
		*y += LEGEND_ROW;
	}
	*end = x + w;
	return x;
}

static void
lay_out(struct layout *l, const struct plot *p, const struct plot_words *w)
{
	double most = w->mark > 0 ? w->mark : 0.001, x = LEFT, y = LEGEND_Y, below = 0, right = 0;

	*l = (struct layout){ .width = WIDTH_MIN };
	for (size_t i = 0; i < p->n; i++) {
		double label = text_width(p->bar[i].group, FONT);

		(void)series_of(l, p->bar[i].series);
		x += is_first(p, i) ? GAP + BAR : BAR;
		right = max(right, x + label * LABEL_COS);
		below = max(below, label * LABEL_SIN);
		most = max(most, p->bar[i].value);
	}
	l->width = max(max(l->width, right), LEFT + max(text_width(w->title, TITLE), text_width(w->command, FONT))) + GAP;
	set_scale(l, most);
	x = LEFT;
	for (size_t i = 0; i < l->nseries; i++)
		(void)legend_place(l, i, &x, &y);
	l->plot_y = y + VALUE_ROOM;
	l->height = l->plot_y + HEIGHT + below + 2 * GAP;
}

/* ---- drawing ---- */

static void
draw_scale(FILE *f, const struct layout *l, const struct plot_words *w)
{
	double base = l->plot_y + HEIGHT;
	char turned[80], number[32];

	for (double v = 0; v < l->top + l->step / 2; v += l->step) {
		double y = base - HEIGHT * v / l->top;

		fprintf(f, "<line x1='%g' x2='%g' y1='%g' y2='%g' stroke='#ddd'/>\n", LEFT, l->width - GAP, y, y);
		snprintf(number, sizeof(number), "%g", v);
		text(f, LEFT - 6, y + 4, "text-anchor='end'", number);
	}
	snprintf(turned, sizeof(turned), "text-anchor='middle' transform='rotate(-90,16,%g)'", base - HEIGHT / 2);
	text(f, 16, base - HEIGHT / 2, turned, w->unit);
}

static void
draw_mark(FILE *f, const struct layout *l, double mark)
{
	double y = l->plot_y + HEIGHT * (1 - mark / l->top);

	if (mark > 0)
		fprintf(f, "<line x1='%g' x2='%g' y1='%g' y2='%g' stroke='#000' stroke-dasharray='4 3'/>\n", LEFT, l->width - GAP, y, y);
}

static void
draw_bars(FILE *f, struct layout *l, const struct plot *p)
{
	double x = LEFT, base = l->plot_y + HEIGHT;
	char more[120], number[32];

	for (size_t i = 0; i < p->n; i++) {
		double v = p->bar[i].value, h = HEIGHT * v / l->top;

		if (is_first(p, i)) {
			x += GAP;
			snprintf(more, sizeof(more), "transform='rotate(35,%g,%g)'", x + 4, base + 14);
			text(f, x + 4, base + 14, more, p->bar[i].group);
		}
		fprintf(f, "<rect x='%g' y='%g' width='%g' height='%g' fill='%s'/>\n", x, base - h, BAR - 1, h,
			colours[series_of(l, p->bar[i].series)]);
		snprintf(number, sizeof(number), v >= 10 ? "%.0f" : "%.2f", v);
		snprintf(more, sizeof(more), "font-size='9' paint-order='stroke' stroke='#fff' stroke-width='3' transform='rotate(-90,%g,%g)'", x + 10, base - h - 3);
		text(f, x + 10, base - h - 3, more, number);
		x += BAR;
	}
}

static void
draw_legend(FILE *f, const struct layout *l)
{
	double end = LEFT, y = LEGEND_Y;

	for (size_t i = 0; l->nseries > 1 && i < l->nseries; i++) { /* one alone is what the unit says */
		double x = legend_place(l, i, &end, &y);

		fprintf(f, "<rect x='%g' y='%g' width='11' height='11' fill='%s'/>\n", x, y - 10, colours[i]);
		text(f, x + 16, y, "", l->series[i]);
	}
}

void
plot_write(const struct plot *p, const char *file, const struct plot_words *w)
{
	FILE *f = fopen(file, "we");
	struct layout l;

	if (f == NULL)
		err(1, "%s", file);
	lay_out(&l, p, w);
	fprintf(f, "<svg xmlns='http://www.w3.org/2000/svg' width='%g' height='%g' font-family='sans-serif' font-size='%g'>\n", l.width, l.height, FONT);
	fprintf(f, "<rect width='100%%' height='100%%' fill='#fff'/>\n");
	text(f, LEFT, 22, "font-size='15'", w->title);
	text(f, LEFT, 40, "fill='#666'", w->command);
	draw_legend(f, &l);
	draw_scale(f, &l, w);
	draw_mark(f, &l, w->mark);
	draw_bars(f, &l, p);
	fprintf(f, "</svg>\n");
	if (fclose(f) != 0)
		err(1, "%s", file);
}
