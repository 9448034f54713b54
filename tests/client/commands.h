/* The command language of the client (main.c documents it): one line in, one line out. */
#ifndef TESTS_CLIENT_COMMANDS_H
#define TESTS_CLIENT_COMMANDS_H

#include <stdbool.h>

#include "tests/client/world.h"

struct commands;

struct commands *commands_new(struct world *w);
void commands_free(struct commands *c);

/* Carries out line (modified). The answer is printed at once, or later by commands_poll when it is a wait.
 * Returns false when the program is to end. */
bool commands_run(struct commands *c, char *line);
/* Is a wait under way? No further line may be given then. */
bool commands_waiting(const struct commands *c);
/* Answers the wait when it is fulfilled or too late. To be called after each pass of the loop. */
void commands_poll(struct commands *c);

#endif
