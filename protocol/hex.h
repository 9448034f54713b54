/* One hexadecimal digit.  Pure. */
#ifndef PROTOCOL_HEX_H
#define PROTOCOL_HEX_H

/* The value of c as a hexadecimal digit in either case, 0 to 15; -1: it is none. */
static inline int
hex_digit(int c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

#endif
