/* The orders of a badhost daemon (tests/badhost/orders.h), for whoever gives them. */
#ifndef TESTS_PEER_BADHOST_H
#define TESTS_PEER_BADHOST_H

struct orders;

/* Makes the file and maps it; NULL: errno says why not. */
struct orders *badhost_orders(const char *path);
void badhost_forget(struct orders *o);

#endif
