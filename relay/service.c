/* The service token; see service.h.
 *
 * Never logs it.  What is wrong with its file is told once, until something else is. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <event2/event.h>

#include "relay/link.h"
#include "relay/log.h"
#include "relay/options.h"
#include "relay/pool.h"
#include "relay/relay.h"
#include "relay/same_file.h"
#include "relay/service.h"
#include "relay/upstream.h"

#define LOOK_MS 1000

struct service {
	struct link *link;
	struct event *timer;
	struct stat seen; /* of the file as it was read last */
	unsigned serial;  /* of the newest content; 0 = never read */
	char token[MSG_TOKEN_MAX + 1];
	const char *complaint; /* static; NULL = fine */
};

/* ---- its file ---- */

/* The token without the white space around it; what does not belong into a request line is no token. */
static const char *
take_token(struct service *sv, char *text, size_t n)
{
	size_t from = 0;

	while (n > 0 && strchr(" \t\r\n", text[n - 1]) != NULL)
		n--;
	while (from < n && strchr(" \t", text[from]) != NULL)
		from++;
	if (from == n)
		return "it is empty";
	if (n - from > MSG_TOKEN_MAX)
		return "it is too long";
	for (size_t i = from; i < n; i++)
		if (text[i] <= ' ' || text[i] > '~')
			return "it holds something else than one token";
	memcpy(sv->token, text + from, n - from);
	sv->token[n - from] = '\0';
	return NULL;
}

static const char *
read_token(struct service *sv, int fd)
{
	char text[MSG_TOKEN_MAX + 64];
	ssize_t n = read(fd, text, sizeof(text));
	const char *why = n < 0 ? "it cannot be read" : take_token(sv, text, (size_t)n);

	explicit_bzero(text, sizeof(text));
	return why;
}

static void
forget_token(struct service *sv)
{
	explicit_bzero(sv->token, sizeof(sv->token));
}

/* What is wrong with the file, NULL: nothing. */
static const char *
look_at_file(struct service *sv, const char *path)
{
	const char *why = sv->complaint;
	struct stat st;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		forget_token(sv);
		memset(&sv->seen, 0, sizeof(sv->seen));
		why = "it cannot be opened, or is no plain file";
	} else if (!same_file(&st, &sv->seen)) {
		forget_token(sv);
		sv->seen = st;
		sv->serial++;
		why = read_token(sv, fd);
		if (why == NULL && (st.st_mode & 077) != 0)
			why = "others than its owner may open it";
	}
	if (fd >= 0)
		close(fd);
	return why;
}

static void
log_complaint(const char *path, const char *why)
{
	struct log_line l;

	log_begin(&l, LOG_WARN, "service_token");
	log_str(&l, "file", path);
	log_str(&l, "reason", why);
	log_end(&l);
}

void
service_look(struct service *sv)
{
	const char *path = sv->link->opt->service_token_file, *why = NULL;
	unsigned before = service_serial(sv);

	if (path[0] != '\0') {
		why = look_at_file(sv, path);
	} else { /* none is configured, or no longer: what was read is not used any more */
		forget_token(sv);
		memset(&sv->seen, 0, sizeof(sv->seen));
	}
	if (why != NULL && why != sv->complaint)
		log_complaint(path, why);
	sv->complaint = why;
	if (service_serial(sv) != 0 && service_serial(sv) != before && sv->link->pool != NULL)
		pool_served_by_service(sv->link->pool);
}

unsigned
service_serial(const struct service *sv)
{
	return sv->token[0] != '\0' ? sv->serial : 0;
}

const char *
service_token(const struct service *sv)
{
	return sv->token;
}

/* ---- its use ---- */

/* path?baas_at=token, as an SDK asks for it. */
static char *
service_target(const char *path, const char *token)
{
	size_t room = strlen(path) + 3 * strlen(token) + 16;
	char *target = relay_alloc(room), *p = target + snprintf(target, room, "%s?baas_at=", path);

	for (; *token != '\0'; token++) {
		if (strchr("&=+%#?/\"<>", *token) != NULL)
			p += snprintf(p, 4, "%%%02X", (unsigned)(unsigned char)*token);
		else
			*p++ = *token;
	}
	return target;
}

/* The newest first of those versions that may be admitted while DOWN: upstream chooses. */
static char *
offers(const struct options *o, enum msg_flavour flavour)
{
	char *list = relay_alloc(64 * (MSG_SUBPROTOCOL_MAX + 2)), *p = list;
	unsigned low = 0, high = 0;

	if (!options_versions(o->offline_versions, &low, &high) || high > 63)
		return list;
	for (unsigned v = high; v >= low && v > 0; v--) {
		if (p != list)
			p = stpcpy(p, ", ");
		msg_format_subprotocol(flavour, v, p);
		p += strlen(p);
	}
	return list;
}

struct upstream *
service_connect(struct service *sv, const char *endpoint, enum msg_flavour flavour, const struct upstream_ops *ops, void *arg)
{
	size_t room = strlen(sv->token) + 8;
	char *target = service_target(link_endpoint_path(endpoint), sv->token), *authorization = relay_alloc(room);
	char *list = offers(sv->link->opt, flavour);
	struct upstream_request req = { .target = view_of(target),
		.protocol = view_of(list),
		.user_agent = view_of("holdfast"),
		.flavour = flavour };
	struct upstream *u;

	snprintf(authorization, room, "Bearer %s", sv->token);
	req.authorization = view_of(authorization);
	u = upstream_open(sv->link, &req, ops, arg, NULL);
	relay_wipe(target);
	relay_wipe(authorization);
	free(list);
	return u;
}

/* ---- life ---- */

static void
look_cb(evutil_socket_t fd, short what, void *arg)
{
	struct service *sv = arg;

	(void)fd;
	(void)what;
	service_look(sv);
	relay_after_ms(sv->timer, LOOK_MS);
}

struct service *
service_new(struct link *link)
{
	struct service *sv = relay_alloc(sizeof(*sv));

	sv->link = link;
	sv->timer = evtimer_new(link->relay->base, look_cb, sv);
	if (sv->timer == NULL)
		log_fatal("out_of_memory", "bytes=0");
	service_look(sv);
	relay_after_ms(sv->timer, LOOK_MS);
	return sv;
}

void
service_free(struct service *sv)
{
	if (sv == NULL)
		return;
	event_free(sv->timer);
	forget_token(sv);
	free(sv);
}
