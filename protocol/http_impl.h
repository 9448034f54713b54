/* What the parser and the formatters of heads share (http.c, http_format.c).  Nobody else includes this. */
#ifndef PROTOCOL_HTTP_IMPL_H
#define PROTOCOL_HTTP_IMPL_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/view.h"

bool http_is_token(struct view v);	/* RFC 9110 section 5.6.2 */
bool http_is_line_char(uint8_t c);	/* a byte that may stand inside a line */
bool http_is_target(struct view v);	/* origin-form, visible ASCII, without '#' */
bool http_list_has(struct view list, const char *token); /* in a comma separated value */

#endif
