/* The words of a control line: separated by single blanks, every byte but the printable ASCII ones as %XX, and so "%" and " ".  An empty word
 * is "%". */
#ifndef RELAY_WORD_H
#define RELAY_WORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Cuts line (changed) into words, unescaped in place; returns how many, or -1: malformed, or more than max. */
int word_split(char *line, const char **word, size_t max);

/* Writes word, escaped, at out (room for 3 * its length + 2); returns behind it, at the NUL. */
char *word_escape(char *out, const char *word);

/* Decimal, the whole of text. */
bool word_number(const char *text, uint64_t *n);

#endif
