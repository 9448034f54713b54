/* See fleet.h.
 *
 * The one idea: a message is never made.  All of a size share one row of frames (upload.h); a device patches its versions in and sends from
 * there, and when the kernel takes a part only, it remembers where it stood and patches again.  Devices take turns: those that may send stand in
 * a line, and whoever is acknowledged joins it at the end. */
#include <err.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/ssl.h>

#include "protocol/http.h"
#include "protocol/message.h"
#include "protocol/ws.h"

#include "tests/bench/load/fleet.h"
#include "tests/bench/load/frames.h"
#include "tests/bench/load/pipe.h"
#include "tests/bench/load/upload.h"

#define READ_BYTES 65536
#define WINDOW_BYTES (4u << 20) /* of one device, not acknowledged */
#define WINDOW_MAX 512		/* messages of one device, likewise: a power of two */
#define CONNECTING_MAX 128	/* at once: a storm is another bench */
#define PATIENCE_NS 60000000000 /* without any progress: something is broken */
#define WAIT_NS 100000000
#define WARM 10			/* a tenth of the time */

enum device_state { DEVICE_SHAKING, DEVICE_UPGRADING, DEVICE_BINDING, DEVICE_LIVE };

struct device {
	struct pipe pipe;
	struct fleet *fleet;
	enum device_state state;
	unsigned file_ident;
	bool in_line;
	struct frames frames;
	uint64_t next, acked;	   /* client versions: the next to be sent, the last acknowledged */
	uint64_t row_first;	   /* what is being sent: the versions from row_first on, */
	unsigned row_n;		   /* so many (0: nothing), */
	size_t row_done;	   /* bytes of them done */
	uint64_t *since;	   /* by version modulo WINDOW_MAX: when it was sent, or due */
};

struct fleet {
	unsigned n, live, connecting, port;
	struct ssl_ctx_st *tls;
	struct device *device;
	unsigned *line; /* ring of n: devices that may send */
	unsigned line_head, line_len;
	struct upload_row row;
	unsigned window, inflight, inflight_max;
	uint64_t sent, acked, limit; /* messages; limit: no more are sent */
	uint64_t now;		     /* ns, as of this step */
	uint64_t progress_at;
	struct histogram latency;
	bool measuring;
	/* open loop */
	double interval; /* ns between two messages; 0: closed loop */
	double due;	 /* when the next one is */
};

static uint8_t in[READ_BYTES];

/* ---- the line ---- */

static void
join_line(struct device *d)
{
	struct fleet *f = d->fleet;

	if (d->in_line || d->row_n > 0 || d->state != DEVICE_LIVE || d->next - d->acked > f->window)
		return;
	d->in_line = true;
	f->line[(f->line_head + f->line_len++) % f->n] = d->file_ident - 1;
}

static struct device *
leave_line(struct fleet *f)
{
	struct device *d = &f->device[f->line[f->line_head]];

	f->line_head = (f->line_head + 1) % f->n;
	f->line_len--;
	d->in_line = false;
	return d;
}

/* ---- sending ---- */

static void
lost(const struct device *d, const char *when)
{
	errx(1, "device %u was cut off %s", d->file_ident, when);
}

/* Goes on with the row under way. */
static void
send_row(struct device *d)
{
	struct upload_row *r = &d->fleet->row;
	size_t len = d->row_n * r->frame;

	upload_row_patch(r, d->row_first, d->row_n);
	while (d->row_done < len) {
		ssize_t n = pipe_write(&d->pipe, r->buf + d->row_done, len - d->row_done);

		if (n < 0)
			lost(d, "while it uploaded");
		if (n == 0)
			break;
		d->row_done += (size_t)n;
	}
	if (d->row_done < len) {
		loop_watch(&d->pipe.fd, EPOLLIN | EPOLLOUT);
		return;
	}
	d->row_n = 0;
	loop_watch(&d->pipe.fd, EPOLLIN);
	join_line(d);
}

static void
start_row(struct device *d, unsigned n, uint64_t since)
{
	struct fleet *f = d->fleet;

	for (unsigned i = 0; i < n; i++)
		d->since[(d->next + i) % WINDOW_MAX] = since;
	d->row_first = d->next;
	d->row_n = n;
	d->row_done = 0;
	d->next += n;
	f->sent += n;
	f->inflight += n;
	send_row(d);
}

static unsigned
least(uint64_t a, uint64_t b)
{
	return (unsigned)(a < b ? a : b);
}

/* Closed loop: as many as the windows let. */
static void
send_freely(struct fleet *f)
{
	while (f->line_len > 0 && f->inflight < f->inflight_max && f->sent < f->limit) {
		struct device *d = leave_line(f);
		unsigned n = least(f->row.n, f->window - (d->next - d->acked - 1));

		n = least(n, f->inflight_max - f->inflight);
		start_row(d, least(n, f->limit - f->sent), f->now);
	}
}

/* Open loop: what is due, each by the next device in line.  Whoever waits for the line waits at our expense: latency counts from when it was
 * due. */
static void
send_due(struct fleet *f)
{
	while (f->due <= (double)f->now && f->line_len > 0 && f->sent < f->limit) {
		start_row(leave_line(f), 1, (uint64_t)f->due);
		f->due += f->interval;
	}
}

/* ---- receiving ---- */

static void
acknowledged(struct device *d, uint64_t version)
{
	struct fleet *f = d->fleet;

	for (; d->acked < version; f->acked++, f->inflight--) {
		d->acked++;
		if (f->measuring)
			histogram_add(&f->latency, f->now > d->since[d->acked % WINDOW_MAX] ? f->now - d->since[d->acked % WINDOW_MAX] : 0);
	}
	f->progress_at = f->now;
	join_line(d);
}

static void
message(void *arg, const uint8_t *prefix, size_t len)
{
	struct device *d = arg;
	struct message m;
	enum proto_err bad = msg_parse_head(MSG_S2C, MSG_PBS, prefix, len, &m);

	if (bad != PROTO_OK)
		errx(1, "device: %s: %.*s", proto_strerror(bad), (int)len, (const char *)prefix);
	if (m.type == MSG_S_DOWNLOAD && m.download.upload_client_version >= d->next)
		errx(1, "device %u is acknowledged more than it sent", d->file_ident);
	if (m.type == MSG_S_DOWNLOAD && m.download.upload_client_version > d->acked) {
		acknowledged(d, m.download.upload_client_version);
	} else if (m.type == MSG_S_MARK && d->state == DEVICE_BINDING) {
		d->state = DEVICE_LIVE;
		d->fleet->live++;
		d->fleet->connecting--;
		join_line(d);
	} else if (m.type == MSG_S_ERROR || m.type == MSG_S_JSON_ERROR) {
		errx(1, "device %u: %.*s", d->file_ident, (int)len, (const char *)prefix);
	}
}

/* ---- getting in ---- */

static void
say_all(struct device *d, const void *bytes, size_t len)
{
	if (pipe_write(&d->pipe, bytes, len) != (ssize_t)len)
		lost(d, "while it was let in");
}

static void
ask_upgrade(struct device *d)
{
	char out[HTTP_HEAD_MAX], target[64];
	struct http_upgrade up = { .host = view_of("127.0.0.1"),
		.key = view_of("dGhlIHNhbXBsZSBub25jZQ=="),
		.protocol = view_of("com.mongodb.realm-sync#14") };

	snprintf(target, sizeof(target), "/bench/realm-sync?baas_at=token");
	up.target = view_of(target);
	say_all(d, out, http_format_request(out, sizeof(out), &up));
	d->state = DEVICE_UPGRADING;
	loop_watch(&d->pipe.fd, EPOLLIN);
}

/* Appends a frame of m and body to out. */
static size_t
put_frame(uint8_t *out, const struct message *m, struct view body)
{
	static const uint8_t zero_mask[4];
	char head[MSG_HEAD_MAX];
	size_t head_len = msg_format_head(m, head), n = ws_format_head(out, WS_CLIENT, true, WS_BINARY, head_len + body.len, zero_mask);

	memcpy(out + n, head, head_len);
	if (body.len > 0)
		memcpy(out + n + head_len, body.ptr, body.len);
	return n + head_len + body.len;
}

static void
bind_session(struct device *d)
{
	struct message bind = { .type = MSG_C_BIND, .session_ident = 1 }, ident = { .type = MSG_C_IDENT, .session_ident = 1 };
	struct message mark = { .type = MSG_C_MARK, .session_ident = 1 };
	char path[64];
	uint8_t out[1024];
	size_t n;

	snprintf(path, sizeof(path), "/bench/%u", d->file_ident);
	bind.bind.path_size = strlen(path);
	ident.c_ident = (struct msg_c_ident){ .file_ident = d->file_ident, .file_ident_salt = d->file_ident };
	mark.c_mark.request_ident = 1;
	n = put_frame(out, &bind, view_of(path));
	n += put_frame(out + n, &ident, (struct view){ NULL, 0 });
	n += put_frame(out + n, &mark, (struct view){ NULL, 0 });
	say_all(d, out, n);
	d->state = DEVICE_BINDING;
}

/* Returns the bytes of the answer to the upgrade, which came whole. */
static size_t
upgraded(struct device *d, size_t len)
{
	struct http_head head;
	size_t used;
	enum proto_err bad = http_parse_response(in, len, &head, &used);

	if (bad != PROTO_OK || head.status != 101)
		errx(1, "device %u: upgrade: %s, status %u", d->file_ident, proto_strerror(bad), bad == PROTO_OK ? head.status : 0);
	bind_session(d);
	return used;
}

static void
receive(struct device *d)
{
	ssize_t n;
	size_t used = 0;

	while ((n = pipe_read(&d->pipe, in, READ_BYTES)) > 0) {
		used = d->state == DEVICE_UPGRADING ? upgraded(d, (size_t)n) : 0;
		if (!frames_feed(&d->frames, in + used, (size_t)n - used, message, d))
			lost(d, "by a close frame");
		if (d->pipe.ssl == NULL && n < READ_BYTES)
			return;
	}
	if (n < 0)
		lost(d, d->state == DEVICE_LIVE ? "while it waited" : "before it was let in");
}

static void
device_ready(struct loop_fd *fd, uint32_t events)
{
	struct device *d = (struct device *)(void *)fd;

	d->fleet->now = loop_now_ns();
	if (d->state == DEVICE_SHAKING) {
		if (pipe_shaken(&d->pipe))
			ask_upgrade(d);
		return;
	}
	if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
		receive(d);
	if ((events & EPOLLOUT) != 0 && d->row_n > 0)
		send_row(d);
}

/* ---- life ---- */

static void
step(struct fleet *f, int64_t wait_ns)
{
	loop_step(wait_ns);
	f->now = loop_now_ns();
	if (f->now - f->progress_at > PATIENCE_NS)
		errx(1, "no progress for a minute: %u of %u devices are live, %u messages are not acknowledged", f->live, f->n, f->inflight);
}

static void
device_start(struct fleet *f, struct device *d, unsigned file_ident)
{
	d->fleet = f;
	d->file_ident = file_ident;
	d->next = UPLOAD_FIRST;
	d->acked = UPLOAD_FIRST - 1;
	d->pipe.fd.ready = device_ready;
	frames_init(&d->frames);
	if ((d->since = calloc(WINDOW_MAX, sizeof(*d->since))) == NULL)
		err(1, "fleet");
	pipe_connect(&d->pipe, f->port, f->tls);
	loop_watch(&d->pipe.fd, EPOLLOUT);
	f->connecting++;
	f->progress_at = loop_now_ns();
}

struct fleet *
fleet_new(unsigned n, unsigned port, struct ssl_ctx_st *tls)
{
	struct fleet *f = calloc(1, sizeof(*f));
	unsigned started = 0;

	if (f == NULL || (f->device = calloc(n, sizeof(*f->device))) == NULL || (f->line = calloc(n, sizeof(*f->line))) == NULL)
		err(1, "fleet");
	f->n = n;
	f->port = port;
	f->tls = tls;
	f->window = 1;
	while (f->live < n) {
		while (started < n && f->connecting < CONNECTING_MAX) {
			device_start(f, &f->device[started], started + 1);
			started++;
		}
		step(f, 100000000);
	}
	return f;
}

void
fleet_free(struct fleet *f)
{
	for (unsigned i = 0; i < f->n; i++) {
		pipe_close(&f->device[i].pipe);
		free(f->device[i].since);
	}
	upload_row_free(&f->row);
	free(f->line);
	free(f->device);
	free(f);
}

static void
prepare(struct fleet *f, const struct fleet_load *load)
{
	size_t window = WINDOW_BYTES / load->size;

	upload_row_free(&f->row);
	upload_row_make(&f->row, load->size, load->varied);
	f->inflight_max = load->inflight;
	f->window = least(window == 0 ? 1 : window, load->rate > 0 ? WINDOW_MAX : (load->inflight + f->n - 1) / f->n);
	f->window = least(f->window, WINDOW_MAX);
	f->limit = load->messages > 0 ? f->sent + load->messages : UINT64_MAX;
	f->now = f->progress_at = loop_now_ns();
	f->interval = load->rate > 0 ? 1e9 / load->rate : 0;
	f->due = (double)f->now;
	histogram_clear(&f->latency);
	for (unsigned i = 0; i < f->n; i++)
		join_line(&f->device[i]);
}

static void
run_until(struct fleet *f, uint64_t end)
{
	while (f->now < end && (f->sent < f->limit || f->inflight > 0)) {
		int64_t wait = (int64_t)least(end - f->now, WAIT_NS);

		if (f->interval > 0) {
			send_due(f);
			wait = f->due > (double)f->now ? (int64_t)(f->due - (double)f->now) : 1000;
		} else {
			send_freely(f);
		}
		step(f, wait);
	}
}

void
fleet_run(struct fleet *f, const struct fleet_load *load, void (*mark)(void *arg), void *arg, struct fleet_result *result)
{
	uint64_t length = (uint64_t)(load->seconds * 1e9), start, acked;

	prepare(f, load);
	if (load->messages == 0)
		run_until(f, f->now + length / WARM);
	if (mark != NULL)
		mark(arg);
	start = f->now = loop_now_ns();
	acked = f->acked;
	f->measuring = true;
	run_until(f, load->messages == 0 ? start + length : UINT64_MAX);
	f->measuring = false;
	result->messages = f->acked - acked;
	result->seconds = (double)(f->now - start) / 1e9;
	result->latency = &f->latency;
	if (mark != NULL)
		mark(arg);
	f->limit = f->sent;
	run_until(f, UINT64_MAX);
}

void
fleet_wait(struct fleet *f, double seconds, bool (*done)(void *arg), void *arg)
{
	uint64_t end = loop_now_ns() + (uint64_t)(seconds * 1e9);

	f->now = f->progress_at = loop_now_ns();
	while (f->now < end && (done == NULL || !done(arg))) {
		f->progress_at = f->now;
		step(f, WAIT_NS / 10);
	}
}

uint64_t
fleet_last(const struct fleet *f, unsigned file_ident)
{
	return f->device[file_ident - 1].next - 1;
}
