/* Words, "key=value" fields of answers, and conditions on them.
 *
 * Two languages are one here: the lines of a scenario and the answers of the programs ("ok key=value ...", "fail why"). */
#ifndef TESTS_SCENARIO_TEXT_H
#define TESTS_SCENARIO_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TEXT_MAX 4096 /* bytes of a line, an answer or a value, NUL included */

/* Cuts the next word off *rest (which is changed); NULL when there is none. */
char *text_word(char **rest);
/* Decimal number, the whole of s. */
bool text_number(const char *s, uint64_t *n);

/* The value of a field of an answer: key of "key=value", or the position among the words after the first, from 1 ("2"). */
bool text_field(const char *answer, const char *key, char value[TEXT_MAX]);

/* Do all conditions hold? conds: "key>=10 state=bound 1==0"; operators = == != < <= > >= and ~ (contains). Numbers compare as
 * numbers. If not, why says "want key>=10, got 3"; a malformed condition is said there as well and is false. */
bool text_holds(const char *answer, const char *conds, char why[TEXT_MAX]);

#endif
