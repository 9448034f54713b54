/* The other formats of a log line, made of the logfmt that log.c builds, so that keys and values are the same by construction. */
#ifndef RELAY_LOGFORM_H
#define RELAY_LOGFORM_H

#include <stdbool.h>
#include <stddef.h>

#include "relay/log.h"

/* A field grows by five bytes at most in JSON and its shortest is four with its blank; an escape of four bytes becomes six. */
#define LOGFORM_MAX (3 * LOG_LINE_MAX)

/* line: len bytes of logfmt with its newline, starting with ts, level and event.  Writes at out as json one flat object (bare digits are a
 * number, all else is a string), or as text "2026-11-23 08:36:00.123Z info  event key=value..."; a newline behind it.  Returns the length, or
 * 0: memory is out (JSON only), take the line as it is. */
size_t logform(bool json, const char *line, size_t len, char out[LOGFORM_MAX]);

#endif
