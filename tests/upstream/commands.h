/* The command language of the stand-in upstream; documented at the head of main.c. */
#ifndef TESTS_UPSTREAM_COMMANDS_H
#define TESTS_UPSTREAM_COMMANDS_H

#include "tests/upstream/server.h"

/* Carries out one line (changed meanwhile) and answers with one line on stdout, flushed. */
void commands_run(struct server *srv, char *line);

#endif
