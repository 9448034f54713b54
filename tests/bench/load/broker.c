/* See broker.h.  Two settings of mosquitto: as it is given out (its database is written now and then) and as durable as it can be made (after each
 * change).  Then it is killed, started again, and what the bridge still has is counted against what was acknowledged. */
#include <err.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/socket.h>

#include "tests/bench/load/bench.h"
#include "tests/bench/load/broker.h"
#include "tests/bench/load/loop.h"

/* MQTT 3.1.1, section 2.2: the first byte of a packet */
enum { MQTT_CONNECT = 0x10, MQTT_CONNACK = 0x20, MQTT_PUBLISH_QOS1 = 0x32, MQTT_PUBACK = 0x40, MQTT_PINGREQ = 0xc0, MQTT_PINGRESP = 0xd0 };

#define CLIENTS_MAX 1000
#define PACKET_MAX (2u << 20)
#define QUIET_MS 3000 /* of the bridge: that was all */

struct mqtt {
	int fd;
	uint8_t *in; /* PACKET_MAX */
	size_t len;
	unsigned inflight;
	uint16_t id;
};

struct broker {
	struct broker_load load;
	struct mqtt client[CLIENTS_MAX];
	uint64_t acked;
};

/* ---- packets ---- */

static size_t
put_head(uint8_t *out, uint8_t first, size_t len)
{
	size_t n = 0;

	out[n++] = first;
	do { /* section 2.2.3 */
		out[n++] = (uint8_t)(len % 128 | (len >= 128 ? 0x80 : 0));
		len /= 128;
	} while (len > 0);
	return n;
}

/* The packet at the front of what was received: its whole length, or 0 when more must come; *body is where its content begins. */
static size_t
whole_packet(const struct mqtt *m, size_t *body)
{
	size_t len = 0;

	for (size_t i = 1, shift = 0; i < m->len && i <= 4; i++, shift += 7) {
		len |= (size_t)(m->in[i] & 0x7f) << shift;
		if ((m->in[i] & 0x80) != 0)
			continue;
		*body = i + 1;
		return m->len >= i + 1 + len ? i + 1 + len : 0;
	}
	return 0;
}

static void
say(const struct mqtt *m, const void *bytes, size_t len)
{
	if (send(m->fd, bytes, len, MSG_NOSIGNAL) != (ssize_t)len)
		err(1, "mqtt");
}

/* Takes what has come and gives each packet to `packet`.  False: the peer has closed. */
static bool
take(struct mqtt *m, void (*packet)(void *arg, struct mqtt *m, size_t body, size_t len), void *arg)
{
	ssize_t n = recv(m->fd, m->in + m->len, PACKET_MAX - m->len, MSG_DONTWAIT);
	size_t body = 0, len;

	if (n == 0)
		return false;
	for (m->len += n > 0 ? (size_t)n : 0; (len = whole_packet(m, &body)) > 0; m->len -= len) {
		packet(arg, m, body, len);
		memmove(m->in, m->in + len, m->len - len);
	}
	return true;
}

/* ---- clients ---- */

static void
client_open(struct mqtt *m, unsigned port, unsigned number)
{
	struct sockaddr_in to = proxy_loopback(port);
	char name[24];
	uint8_t out[64], rest[] = { 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60 };
	size_t len = (size_t)snprintf(name, sizeof(name), "bench%u", number), n;
	int one = 1;

	m->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	m->in = malloc(PACKET_MAX);
	if (m->fd < 0 || m->in == NULL || connect(m->fd, (struct sockaddr *)&to, sizeof(to)) != 0)
		err(1, "mqtt");
	(void)setsockopt(m->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	n = put_head(out, MQTT_CONNECT, sizeof(rest) + 2 + len);
	memcpy(out + n, rest, sizeof(rest));
	n += sizeof(rest);
	out[n++] = 0;
	out[n++] = (uint8_t)len;
	memcpy(out + n, name, len);
	say(m, out, n + len);
}

static void
publish(const struct broker *b, struct mqtt *m)
{
	static const char topic[] = "bench/upload";
	static uint8_t out[PACKET_MAX];
	size_t n = put_head(out, MQTT_PUBLISH_QOS1, 2 + strlen(topic) + 2 + b->load.size);

	out[n++] = 0;
	out[n++] = (uint8_t)strlen(topic);
	memcpy(out + n, topic, strlen(topic));
	n += strlen(topic);
	m->id = m->id == UINT16_MAX ? 1 : (uint16_t)(m->id + 1);
	out[n++] = (uint8_t)(m->id >> 8);
	out[n++] = (uint8_t)m->id;
	memset(out + n, 'x', b->load.size);
	say(m, out, n + b->load.size);
	m->inflight++;
}

static void
client_packet(void *arg, struct mqtt *m, size_t body, size_t len)
{
	struct broker *b = arg;

	(void)body;
	(void)len;
	if ((m->in[0] & 0xf0) == MQTT_PUBACK) {
		m->inflight--;
		b->acked++;
	}
}

/* As fast as the window lets, for `seconds`, and until all is acknowledged; messages a second. */
static double
publish_all(struct broker *b)
{
	struct pollfd fds[CLIENTS_MAX];
	uint64_t start = loop_now_ns(), end = start + (uint64_t)(b->load.seconds * 1e9), now;
	unsigned inflight;

	b->acked = 0;
	do {
		now = loop_now_ns();
		inflight = 0;
		for (unsigned i = 0; i < b->load.clients; i++) {
			struct mqtt *m = &b->client[i];

			while (now < end && m->inflight < b->load.window)
				publish(b, m);
			inflight += m->inflight;
			fds[i] = (struct pollfd){ .fd = m->fd, .events = POLLIN };
		}
		if (inflight > 0 && poll(fds, b->load.clients, 60000) <= 0)
			errx(1, "mosquitto does not answer");
		for (unsigned i = 0; i < b->load.clients; i++)
			if (fds[i].revents != 0 && !take(&b->client[i], client_packet, b))
				errx(1, "mosquitto has closed");
	} while (inflight > 0 || now < end);
	return (double)b->acked * 1e9 / (double)(now - start);
}

/* ---- the server comes back ---- */

static void
bridge_packet(void *arg, struct mqtt *m, size_t body, size_t len)
{
	static const uint8_t connack[] = { MQTT_CONNACK, 2, 0, 0 }, pong[] = { MQTT_PINGRESP, 0 };
	size_t topic = len >= body + 2 ? (size_t)m->in[body] << 8 | m->in[body + 1] : 0;
	uint8_t ack[] = { MQTT_PUBACK, 2, 0, 0 };

	if (m->in[0] == MQTT_CONNECT)
		say(m, connack, sizeof(connack));
	else if (m->in[0] == MQTT_PINGREQ)
		say(m, pong, sizeof(pong));
	else if ((m->in[0] & 0xf6) == MQTT_PUBLISH_QOS1 && len >= body + 4 + topic) {
		memcpy(ack + 2, m->in + body + 2 + topic, 2);
		say(m, ack, sizeof(ack));
		if (topic > 0 && m->in[body + 2] != '$')
			++*(uint64_t *)arg;
	}
}

/* How many messages the bridge brings to the one who listens on fd. */
static uint64_t
count_brought(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct mqtt m = { .fd = -1, .in = malloc(PACKET_MAX) };
	uint64_t n = 0;

	if (m.in == NULL || poll(&p, 1, 20 * QUIET_MS) != 1 || (m.fd = accept(fd, NULL, NULL)) < 0)
		errx(1, "the bridge does not come");
	p.fd = m.fd;
	while (poll(&p, 1, QUIET_MS) == 1 && take(&m, bridge_packet, &n))
		;
	close(m.fd);
	free(m.in);
	return n;
}

void
broker_turn(struct bench *bench, const struct broker_load *load, bool durable, double *rate, double *lost)
{
	static struct broker broker;
	struct broker *b = &broker;
	struct proxy_setup setup = { .dir = bench->dir, .durable = durable, .spread = bench->spread };
	struct proxy proxy;
	uint64_t brought;
	int fd = proxy_reserve_port(&setup.upstream_port);

	memset(b, 0, sizeof(*b));
	b->load = *load;
	b->load.clients = load->clients > CLIENTS_MAX ? CLIENTS_MAX : load->clients;
	b->load.size = load->size > PACKET_MAX / 2 ? PACKET_MAX / 2 : load->size;
	proxy_start(&proxy, PROXY_MOSQUITTO, &setup);
	for (unsigned i = 0; i < b->load.clients; i++)
		client_open(&b->client[i], proxy.port, i);
	*rate = publish_all(b);
	proxy_kill_and_start(&proxy, &setup);
	if (listen(fd, 8) != 0)
		err(1, "listen");
	brought = count_brought(fd);
	*lost = b->acked > brought ? 100.0 * (double)(b->acked - brought) / (double)b->acked : 0;
	proxy_stop(&proxy);
	close(fd);
	for (unsigned i = 0; i < b->load.clients; i++) {
		close(b->client[i].fd);
		free(b->client[i].in);
	}
}
