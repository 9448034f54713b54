/* Splits and escapes the words of control lines; see word.h.  Pure. */
#include <string.h>

#include "protocol/hex.h"

#include "relay/word.h"

/* Unescapes a word in place; false: malformed. */
static bool
unescape(char *w)
{
	char *out = w;

	if (*w == '\0')
		return false;
	if (strcmp(w, "%") == 0)
		w++;
	for (; *w != '\0'; w++) {
		if (*w == '%') {
			int high = hex_digit(w[1]), low = high < 0 ? -1 : hex_digit(w[2]);

			if (low < 0 || high * 16 + low == 0)
				return false;
			*out++ = (char)(high * 16 + low);
			w += 2;
		} else if (*w > ' ' && *w < 0x7f) {
			*out++ = *w;
		} else {
			return false;
		}
	}
	*out = '\0';
	return true;
}

int
word_split(char *line, const char **word, size_t max)
{
	size_t n = 0;
	char *next = line;

	while (next != NULL) {
		char *w = next;

		if (n == max)
			return -1;
		next = strchr(w, ' ');
		if (next != NULL)
			*next++ = '\0';
		if (!unescape(w))
			return -1;
		word[n++] = w;
	}
	return (int)n;
}

char *
word_escape(char *out, const char *word)
{
	static const char digits[] = "0123456789ABCDEF";

	if (*word == '\0')
		*out++ = '%';
	for (; *word != '\0'; word++) {
		unsigned char c = (unsigned char)*word;

		if (c > ' ' && c < 0x7f && c != '%') {
			*out++ = (char)c;
		} else {
			*out++ = '%';
			*out++ = digits[c >> 4];
			*out++ = digits[c & 15];
		}
	}
	*out = '\0';
	return out;
}

bool
word_number(const char *text, uint64_t *n)
{
	*n = 0;
	if (*text == '\0')
		return false;
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9' || *n > (UINT64_MAX - (uint64_t)(*text - '0')) / 10)
			return false;
		*n = *n * 10 + (uint64_t)(*text - '0');
	}
	return true;
}
