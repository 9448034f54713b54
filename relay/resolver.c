/* Names to addresses, off the loop: one helper thread calls getaddrinfo.
 *
 * Two halves. struct resolver belongs to the loop: the names known or asked for, the queries that wait for each, and the
 * answers that are due. struct desk is what both threads see, behind one mutex: jobs in, jobs out, and an eventfd that rings on
 * the loop.  A job is a copy, so nothing of the loop's is touched by the thread.
 *
 * getaddrinfo can hang for half a minute and cannot be stopped; so nobody ever waits for it.  A thread that is left behind in
 * one by resolver_free frees the desk itself when it comes back (refs).
 *
 * Every answer - looked up, remembered, numeric, refused - goes through the list of due queries and a zero timer: callbacks
 * never run inside resolver_ask. */
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <event2/event.h>

#include "relay/address.h"
#include "relay/clock.h"
#include "relay/log.h"
#include "relay/privilege.h"
#include "relay/resolver.h"

struct name;

struct job {
	struct job *next;
	struct name *name; /* the loop's; the thread only carries it */
	char host[ADDRESS_HOST_MAX];
	uint16_t port;
	struct resolver_result result;
};

struct desk {
	pthread_mutex_t lock;
	pthread_cond_t work;
	int refs;  /* the loop's and the thread's */
	bool stop; /* the loop's half is gone */
	bool busy; /* the thread is in a look-up */
	struct job *todo, **todo_end, *done;
	int bell; /* eventfd */
	resolver_lookup *lookup;
};

enum name_state { NAME_FREE, NAME_WAITING, NAME_KNOWN };

struct name {
	enum name_state state;
	char host[ADDRESS_HOST_MAX];
	uint16_t port;
	uint64_t expires_ms; /* NAME_KNOWN */
	struct resolver_result result;
	struct resolver_query *waiting; /* NAME_WAITING */
};

struct resolver_query {
	struct resolver *resolver;
	resolver_cb *cb;
	void *arg;
	struct resolver_result result; /* once it is due */
	struct resolver_query *next, **at; /* on a name's list or the due list */
};

struct resolver {
	struct desk *desk;
	pthread_t thread;
	bool has_thread;
	struct event *bell, *due_timer;
	struct resolver_query *due, **due_end;
	struct name names[RESOLVER_NAMES];
};

/* ---- the thread ---- */

static void
look_up(const char *host, uint16_t port, struct resolver_result *out)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG | AI_NUMERICSERV };
	struct addrinfo *list = NULL;
	char service[8];
	int rc;

	snprintf(service, sizeof service, "%u", port);
	rc = getaddrinfo(host, service, &hints, &list);
	out->n = 0;
	out->why = rc != 0 ? gai_strerror(rc) : NULL;
	for (struct addrinfo *a = list; rc == 0 && a != NULL && out->n < RESOLVER_ADDRESSES; a = a->ai_next) {
		if (a->ai_addrlen > sizeof out->addr[0].addr)
			continue;
		memcpy(&out->addr[out->n].addr, a->ai_addr, a->ai_addrlen);
		out->addr[out->n++].len = a->ai_addrlen;
	}
	if (rc == 0)
		freeaddrinfo(list);
	if (rc == 0 && out->n == 0)
		out->why = "no addresses";
}

static void
free_jobs(struct job *j)
{
	while (j != NULL) {
		struct job *next = j->next;

		free(j);
		j = next;
	}
}

/* Called with the lock held, returns without it. */
static void
desk_unref(struct desk *d)
{
	bool last = --d->refs == 0;

	pthread_mutex_unlock(&d->lock);
	if (!last)
		return;
	free_jobs(d->todo);
	free_jobs(d->done);
	close(d->bell);
	pthread_mutex_destroy(&d->lock);
	pthread_cond_destroy(&d->work);
	free(d);
}

static void *
thread_main(void *arg)
{
	static const uint64_t one = 1;
	struct desk *d = arg;
	struct job *j;

	privilege_end();
	pthread_mutex_lock(&d->lock);
	while (!d->stop) {
		j = d->todo;
		if (j == NULL) {
			pthread_cond_wait(&d->work, &d->lock);
			continue;
		}
		d->todo = j->next;
		if (d->todo == NULL)
			d->todo_end = &d->todo;
		d->busy = true;
		pthread_mutex_unlock(&d->lock);
		d->lookup(j->host, j->port, &j->result);
		pthread_mutex_lock(&d->lock);
		d->busy = false;
		j->next = d->done;
		d->done = j;
		if (write(d->bell, &one, sizeof one) < 0 && errno != EAGAIN)
			PANIC("resolver bell"); /* EAGAIN: it rings already, 2^64 times */
	}
	desk_unref(d);
	return NULL;
}

/* Signals stay with the loop's thread. */
static bool
start_thread(struct resolver *r)
{
	sigset_t all, before;

	if (r->has_thread)
		return true;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r->desk->refs++;
	r->has_thread = pthread_create(&r->thread, NULL, thread_main, r->desk) == 0;
	if (!r->has_thread)
		r->desk->refs--;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r->has_thread;
}

static void
post(struct resolver *r, struct job *j)
{
	struct desk *d = r->desk;

	pthread_mutex_lock(&d->lock);
	*d->todo_end = j;
	d->todo_end = &j->next;
	pthread_cond_signal(&d->work);
	pthread_mutex_unlock(&d->lock);
}

/* ---- queries ---- */

static void
unlink_query(struct resolver_query *q)
{
	if (q->resolver->due_end == &q->next)
		q->resolver->due_end = q->at;
	*q->at = q->next;
	if (q->next != NULL)
		q->next->at = q->at;
}

static void
make_due(struct resolver_query *q, const struct resolver_result *result)
{
	static const struct timeval now = { 0, 0 };
	struct resolver *r = q->resolver;

	q->result = *result;
	q->next = NULL;
	q->at = r->due_end;
	*r->due_end = q;
	r->due_end = &q->next;
	if (evtimer_add(r->due_timer, &now) != 0)
		log_fatal("out_of_memory", "what=timer");
}

static void
due_cb(evutil_socket_t fd, short what, void *arg)
{
	static const struct timeval now = { 0, 0 };
	struct resolver *r = arg;
	size_t n = 0;

	(void)fd;
	(void)what;
	for (struct resolver_query *q = r->due; q != NULL; q = q->next)
		n++;
	while (n-- > 0 && r->due != NULL) { /* not those that the callbacks add */
		struct resolver_query *q = r->due;

		unlink_query(q);
		q->cb(q->arg, &q->result);
		free(q);
	}
	if (r->due != NULL)
		(void)evtimer_add(r->due_timer, &now);
}

static void
refuse(struct resolver_query *q, const char *why)
{
	struct resolver_result result = { .why = why };

	make_due(q, &result);
}

static void
finish(struct job *j)
{
	struct name *n = j->name;
	struct resolver_query *q;

	n->state = NAME_KNOWN;
	n->expires_ms = clock_ms() + (j->result.why == NULL ? RESOLVER_TTL_MS : RESOLVER_FAIL_TTL_MS);
	n->result = j->result;
	while ((q = n->waiting) != NULL) {
		unlink_query(q);
		make_due(q, &n->result);
	}
}

static void
bell_cb(evutil_socket_t fd, short what, void *arg)
{
	struct resolver *r = arg;
	struct job *done;
	uint64_t rings;

	(void)what;
	if (read(fd, &rings, sizeof rings) < 0)
		return;
	pthread_mutex_lock(&r->desk->lock);
	done = r->desk->done;
	r->desk->done = NULL;
	pthread_mutex_unlock(&r->desk->lock);
	for (struct job *j = done; j != NULL; j = j->next)
		finish(j);
	free_jobs(done);
}

/* The entry of host and port if it is asked for or still fresh; else *spare is one to use for it, or NULL if all are waited
 * for. */
static struct name *
find_name(struct resolver *r, const char *host, uint16_t port, struct name **spare)
{
	*spare = NULL;
	for (size_t i = 0; i < RESOLVER_NAMES; i++) {
		struct name *n = &r->names[i];

		if (n->state == NAME_KNOWN && clock_ms() >= n->expires_ms)
			n->state = NAME_FREE;
		if (n->state != NAME_FREE && n->port == port && strcmp(n->host, host) == 0)
			return n;
		if (n->state == NAME_FREE || (n->state == NAME_KNOWN && *spare == NULL))
			*spare = n;
	}
	return NULL;
}

/* True: host is a literal address. */
static bool
numeric(const char *host, uint16_t port, struct resolver_result *out)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV };
	struct addrinfo *a = NULL;
	char service[8];

	snprintf(service, sizeof service, "%u", port);
	if (getaddrinfo(host, service, &hints, &a) != 0)
		return false;
	memset(out, 0, sizeof *out);
	memcpy(&out->addr[0].addr, a->ai_addr, a->ai_addrlen);
	out->addr[0].len = a->ai_addrlen;
	out->n = 1;
	freeaddrinfo(a);
	return true;
}

/* Waits for n, which is asked for now. */
static void
look_up_later(struct resolver *r, struct name *n, struct resolver_query *q, const char *host, uint16_t port)
{
	struct job *j = calloc(1, sizeof *j);

	if (j == NULL || !start_thread(r)) {
		free(j);
		refuse(q, "cannot start a look-up");
		return;
	}
	n->state = NAME_WAITING;
	n->waiting = NULL;
	n->port = port;
	snprintf(n->host, sizeof n->host, "%s", host);
	j->name = n;
	j->port = port;
	snprintf(j->host, sizeof j->host, "%s", host);
	post(r, j);
}

struct resolver_query *
resolver_ask(struct resolver *r, const char *host, uint16_t port, resolver_cb *cb, void *arg)
{
	struct resolver_query *q = calloc(1, sizeof *q);
	struct resolver_result literal;
	struct name *n, *spare;

	if (q == NULL)
		log_fatal("out_of_memory", "what=resolver");
	q->resolver = r;
	q->cb = cb;
	q->arg = arg;
	if (strlen(host) >= ADDRESS_HOST_MAX) {
		refuse(q, "host name too long");
		return q;
	}
	if (numeric(host, port, &literal)) {
		make_due(q, &literal);
		return q;
	}
	n = find_name(r, host, port, &spare);
	if (n == NULL && spare == NULL) {
		refuse(q, "too many names are being looked up");
		return q;
	}
	if (n == NULL) {
		n = spare;
		n->state = NAME_FREE;
		look_up_later(r, n, q, host, port);
	}
	if (n->state == NAME_KNOWN) {
		make_due(q, &n->result);
	} else if (n->state == NAME_WAITING) {
		q->at = &n->waiting;
		q->next = n->waiting;
		if (q->next != NULL)
			q->next->at = &q->next;
		n->waiting = q;
	}
	return q;
}

void
resolver_cancel(struct resolver_query *q)
{
	unlink_query(q);
	free(q);
}

/* ---- life ---- */

static struct desk *
desk_new(resolver_lookup *lookup)
{
	struct desk *d = calloc(1, sizeof *d);

	if (d == NULL)
		log_fatal("out_of_memory", "what=resolver");
	d->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (d->bell < 0) {
		free(d);
		return NULL;
	}
	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->work, NULL);
	d->refs = 1;
	d->todo_end = &d->todo;
	d->lookup = lookup != NULL ? lookup : look_up;
	return d;
}

struct resolver *
resolver_new(struct event_base *base, resolver_lookup *lookup)
{
	struct resolver *r;
	struct desk *d = desk_new(lookup);

	if (d == NULL)
		return NULL;
	r = calloc(1, sizeof *r);
	if (r == NULL)
		log_fatal("out_of_memory", "what=resolver");
	r->desk = d;
	r->due_end = &r->due;
	r->bell = event_new(base, d->bell, EV_READ | EV_PERSIST, bell_cb, r);
	r->due_timer = evtimer_new(base, due_cb, r);
	if (r->bell == NULL || r->due_timer == NULL || event_add(r->bell, NULL) != 0)
		log_fatal("out_of_memory", "what=resolver");
	return r;
}

static void
free_queries(struct resolver_query *q)
{
	while (q != NULL) {
		struct resolver_query *next = q->next;

		free(q);
		q = next;
	}
}

void
resolver_free(struct resolver *r)
{
	bool idle;

	event_free(r->bell);
	event_free(r->due_timer);
	free_queries(r->due);
	for (size_t i = 0; i < RESOLVER_NAMES; i++)
		if (r->names[i].state == NAME_WAITING)
			free_queries(r->names[i].waiting);
	pthread_mutex_lock(&r->desk->lock);
	r->desk->stop = true;
	idle = !r->desk->busy;
	pthread_cond_signal(&r->desk->work);
	desk_unref(r->desk);
	if (r->has_thread && idle)
		pthread_join(r->thread, NULL);
	else if (r->has_thread)
		pthread_detach(r->thread);
	free(r);
}
