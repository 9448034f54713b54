/* Instructions as text for people: one line each, printable ASCII only, whatever a device put into its strings. */
#ifndef PROTOCOL_CHANGESET_TEXT_H
#define PROTOCOL_CHANGESET_TEXT_H

#include <stddef.h>

#include "protocol/changeset.h"

#define CS_TEXT_MAX 512 /* bytes with NUL; what is longer ends in "..." */

/* Writes item i of c to out, without a newline:
 *	Update Item[1].list[2] = "a\x0ab" of 3		ArrayMove Item["k"].list[0] to 2 of 3		Clear Item[1].tags (set)
 * Long strings are cut and their size told. An InternString gives an empty line. */
void cs_text(const struct cs_parsed *c, size_t i, char out[CS_TEXT_MAX]);

#endif
