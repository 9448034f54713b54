/* A view: bytes somebody else owns.  Never NUL terminated, never freed through
 * the view; lives as long as the buffer it points into, which each function
 * that returns one names. */
#ifndef PROTOCOL_VIEW_H
#define PROTOCOL_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct view {
	const uint8_t *ptr;
	size_t len; /* bytes */
};

static inline struct view
view_of(const char *text)
{
	return (struct view){ (const uint8_t *)text, strlen(text) };
}

static inline bool
view_eq(struct view a, struct view b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

#endif
