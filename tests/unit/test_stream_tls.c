/* Tests what TLS adds to relay/stream: certificates, handshakes that fail, records, key updates, and memory that runs out in
 * the middle.
 *
 * The peer here is either another stream or, where the records themselves matter, OpenSSL used directly (struct raw_tls). */
#include <stdlib.h>

#include <openssl/crypto.h>
#include <openssl/ssl.h>

#include "tests/unit/stream_pair.h"

#define NEVER .close_on = -1

/* ---- certificates ---- */

static const struct cert_case {
	const char *host;
	bool other_ca, no_verify;
	const char *why; /* NULL = opens */
} cert_cases[] = {
	{ "localhost", false, false, NULL },
	{ "localhost.", false, false, NULL },
	{ "LOCALHOST", false, false, NULL },
	{ "127.0.0.1", false, false, NULL },
	{ "example.com", false, false, "tls: certificate verify failed: hostname mismatch" },
	{ "evil.localhost", false, false, "tls: certificate verify failed: hostname mismatch" },
	{ "127.0.0.2", false, false, "tls: certificate verify failed: IP address mismatch" },
	{ "::1", false, false, "tls: certificate verify failed: IP address mismatch" },
	{ "localhost", true, false, "tls: certificate verify failed: " },
	{ "localhost", true, true, NULL },
	{ "example.com", false, true, NULL },
};

static void
one_certificate(const struct cert_case *k, const char *other_ca)
{
	char why[256];
	struct tls_context *own = NULL, *use = tls_of(false);
	struct end c = { NEVER, .to_send = 10 }, s = { NEVER };

	if (k->other_ca || k->no_verify) {
		own = tls_client_new(&(struct tls_settings){ .ca = other_ca, .verify = !k->no_verify }, why, sizeof why);
		CHECK(own != NULL);
		use = own;
	}
	s.s = stream_accept(connect_stream(&c, use, k->host), tls_of(true), end_cb, &s);
	if (k->why == NULL) {
		RUN_UNTIL(s.got == 10);
		CHECK(c.verified == !k->no_verify);
		CHECK_U64(c.errors, 0);
	} else {
		RUN_UNTIL(c.errors == 1 && s.errors == 1);
		CHECK_MEM(c.why, strnlen(c.why, strlen(k->why)), k->why, strlen(k->why));
		CHECK(c.cert_failed && !s.cert_failed);
		CHECK_U64(c.opens, 0);
		CHECK(strncmp(s.why, "tls: ", 5) == 0);
	}
	end_close(&c);
	end_close(&s);
	stream_reap();
	tls_free(own);
}

TEST(certificates)
{
	struct cert_files other;

	CHECK(cert_make(harness_tmpdir(), "other", &other));
	stage_open();
	for (size_t i = 0; i < sizeof cert_cases / sizeof cert_cases[0] && !harness_failed(); i++)
		one_certificate(&cert_cases[i], other.ca);
	stage_close();
}

TEST(contexts_say_what_is_wrong)
{
	struct cert_files a, b;
	char why[600], want[600];

	CHECK(cert_make(harness_tmpdir(), "a", &a));
	CHECK(cert_make(harness_tmpdir(), "b", &b));
	CHECK(tls_server_new(&(struct tls_settings){ .certificate = "/nonexistent/x.pem", .key = a.key }, why, sizeof why) == NULL);
	CHECK_STR(why, "certificate /nonexistent/x.pem: No such file or directory");
	CHECK(tls_server_new(&(struct tls_settings){ .certificate = a.cert, .key = a.cert }, why, sizeof why) == NULL);
	snprintf(want, sizeof want, "private key %s: ", a.cert);
	CHECK(strncmp(why, want, strlen(want)) == 0);
	CHECK(tls_server_new(&(struct tls_settings){ .certificate = a.cert, .key = b.key }, why, sizeof why) == NULL);
	snprintf(want, sizeof want, "private key %s: key values mismatch", b.key);
	CHECK_STR(why, want);
	CHECK(tls_client_new(&(struct tls_settings){ .ca = "/nonexistent/ca.pem", .verify = true }, why, sizeof why) == NULL);
	CHECK_STR(why, "authorities /nonexistent/ca.pem: No such file or directory");
}

/* ---- handshakes that fail ---- */

TEST(peer_speaks_no_tls)
{
	static const char portal[] = "HTTP/1.1 302 Found\r\nLocation: http://portal.example/\r\n\r\n";
	struct end c = { NEVER };
	int fd;

	stage_open();
	fd = connect_stream(&c, tls_of(false), "localhost");
	CHECK_U64(send(fd, portal, sizeof portal - 1, 0), sizeof portal - 1);
	RUN_UNTIL(c.errors == 1);
	CHECK_STR(c.why, "tls: wrong version number");
	CHECK(!c.cert_failed);
	close(fd);
	end_close(&c);
	stage_close();
}

TEST(peer_closes_during_the_handshake)
{
	struct end c = { NEVER };
	int fd;

	stage_open();
	fd = connect_stream(&c, tls_of(false), "localhost");
	shutdown(fd, SHUT_WR);
	RUN_UNTIL(c.errors == 1);
	CHECK_STR(c.why, "tls: closed by peer during the handshake");
	close(fd);
	end_close(&c);
	stage_close();
}

TEST(client_speaks_no_tls)
{
	struct end c = { NEVER, .to_send = 100 }, s = { NEVER };

	stage_open();
	s.s = stream_accept(connect_stream(&c, NULL, NULL), tls_of(true), end_cb, &s);
	RUN_UNTIL(s.errors == 1);
	CHECK(strncmp(s.why, "tls: ", 5) == 0);
	CHECK_U64(s.opens, 0);
	end_close(&s);
	RUN_UNTIL(c.ends + c.errors == 1);
	end_close(&c);
	stage_close();
}

/* ---- OpenSSL as the peer ---- */

struct raw_tls {
	SSL_CTX *ctx;
	SSL *ssl;
	int fd;
	unsigned records; /* application data records received */
	uint64_t got;
	bool bad, eof;
};

static void
count_records(int write_p, int version, int content_type, const void *buf, size_t len, SSL *ssl, void *arg)
{
	struct raw_tls *r = arg;

	(void)version;
	(void)ssl;
	if (!write_p && content_type == SSL3_RT_INNER_CONTENT_TYPE && len == 1 && *(const uint8_t *)buf == SSL3_RT_APPLICATION_DATA)
		r->records++;
}

static bool
raw_open(struct raw_tls *r, int fd)
{
	struct cert_files files;

	memset(r, 0, sizeof *r);
	r->fd = fd;
	fcntl(fd, F_SETFL, O_NONBLOCK);
	tls_of(true);
	if (!cert_make(harness_tmpdir(), "raw", &files))
		return false;
	r->ctx = SSL_CTX_new(TLS_server_method());
	SSL_CTX_use_certificate_chain_file(r->ctx, files.cert);
	SSL_CTX_use_PrivateKey_file(r->ctx, files.key, SSL_FILETYPE_PEM);
	r->ssl = SSL_new(r->ctx);
	SSL_set_fd(r->ssl, fd);
	SSL_set_msg_callback(r->ssl, count_records);
	SSL_set_msg_callback_arg(r->ssl, r);
	SSL_set_accept_state(r->ssl);
	return true;
}

static void
raw_step(struct raw_tls *r)
{
	uint8_t buf[16384];
	size_t n = 0;

	while (SSL_read_ex(r->ssl, buf, sizeof buf, &n) == 1) {
		for (size_t i = 0; i < n; i++)
			if (buf[i] != pattern(r->got + i))
				r->bad = true;
		r->got += n;
	}
	r->eof = SSL_get_shutdown(r->ssl) & SSL_RECEIVED_SHUTDOWN;
	pass();
}

static void
raw_close(struct raw_tls *r)
{
	SSL_free(r->ssl);
	SSL_CTX_free(r->ctx);
	close(r->fd);
}

/* The client trusts anybody here: raw_open makes certificates of its own. */
static struct tls_context *
careless(void)
{
	char why[256];

	return tls_client_new(&(struct tls_settings){ .verify = false }, why, sizeof why);
}

#define RAW_UNTIL(cond) \
	do { \
		uint64_t give_up_ = clock_now_ms() + LIMIT_MS; \
		while (!(cond)) { \
			raw_step(&r); \
			if (clock_now_ms() > give_up_) { \
				harness_fail(__FILE__, __LINE__, "waited %d ms in vain for %s", LIMIT_MS, #cond); \
				return; \
			} \
		} \
	} while (0)

/* 200 messages of a pass, each as a head and a body, are one record per 16 KiB and not four hundred. */
TEST(records_are_coalesced)
{
	struct tls_context *t = careless();
	struct end c = { NEVER };
	struct raw_tls r;
	uint64_t pos = 0;

	stage_open();
	CHECK(raw_open(&r, connect_stream(&c, t, "localhost")));
	RAW_UNTIL(c.opens == 1);
	for (int i = 0; i < 200; i++) {
		struct outqueue body = { 0 };
		uint8_t bytes[150];

		for (size_t k = 0; k < sizeof bytes; k++)
			bytes[k] = pattern(pos + k);
		stream_write(c.s, bytes, 14);
		outqueue_add(&body, bytes + 14, sizeof bytes - 14);
		stream_write_queue(c.s, &body);
		pos += sizeof bytes;
	}
	RAW_UNTIL(r.got == pos);
	CHECK(!r.bad);
	CHECK(r.records >= 2 && r.records <= 7); /* PIECES bound one record, too */
	stream_close(c.s, true, LIMIT_MS);
	RAW_UNTIL(r.eof);
	raw_close(&r);
	stage_close();
	tls_free(t);
}

/* The peer asks for new keys: both directions go on. */
TEST(key_update)
{
	struct tls_context *t = careless();
	struct end c = { NEVER, .to_send = 100 };
	struct raw_tls r;
	size_t n;

	stage_open();
	CHECK(raw_open(&r, connect_stream(&c, t, "localhost")));
	RAW_UNTIL(r.got == 100);
	for (int i = 0; i < 5; i++) {
		uint8_t byte = pattern((uint64_t)i);

		CHECK_U64(SSL_key_update(r.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
		CHECK_U64(SSL_write_ex(r.ssl, &byte, 1, &n), 1);
		c.to_send += 100;
		feed(&c);
		RAW_UNTIL(c.got == (uint64_t)i + 1 && r.got == c.to_send);
	}
	CHECK(!c.bad && !r.bad);
	end_close(&c);
	RAW_UNTIL(r.eof);
	raw_close(&r);
	stage_close();
	tls_free(t);
}

/* A peer that is cut without a goodbye is at its end, not in error. */
TEST(end_without_close_notify)
{
	struct tls_context *t = careless();
	struct end c = { NEVER, .to_send = 100 };
	struct raw_tls r;

	stage_open();
	CHECK(raw_open(&r, connect_stream(&c, t, "localhost")));
	RAW_UNTIL(r.got == 100);
	shutdown(r.fd, SHUT_WR);
	RAW_UNTIL(c.ends == 1);
	CHECK_U64(c.errors, 0);
	end_close(&c);
	raw_close(&r);
	stage_close();
	tls_free(t);
}

/* A corrupted record is an error with a reason. */
TEST(garbage_in_the_stream)
{
	static const uint8_t garbage[] = { 23, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20 };
	struct tls_context *t = careless();
	struct end c = { NEVER, .to_send = 100 };
	struct raw_tls r;

	stage_open();
	CHECK(raw_open(&r, connect_stream(&c, t, "localhost")));
	RAW_UNTIL(r.got == 100);
	CHECK_U64(send(r.fd, garbage, sizeof garbage, 0), sizeof garbage);
	RAW_UNTIL(c.errors == 1);
	CHECK_STR(c.why, "tls: decryption failed or bad record mac");
	CHECK(!c.cert_failed);
	end_close(&c);
	raw_close(&r);
	stage_close();
	tls_free(t);
}

/* ---- memory that runs out ---- */

static long fail_at; /* OpenSSL's allocation to fail; 0 = none */

static void *
failing_malloc(size_t n, const char *file, int line)
{
	(void)file;
	(void)line;
	return fail_at > 0 && --fail_at == 0 ? NULL : malloc(n);
}

static void *
failing_realloc(void *p, size_t n, const char *file, int line)
{
	(void)file;
	(void)line;
	return fail_at > 0 && --fail_at == 0 ? NULL : realloc(p, n);
}

static void
plain_free(void *p, const char *file, int line)
{
	(void)file;
	(void)line;
	free(p);
}

__attribute__((constructor)) static void
take_over_allocation(void)
{
	CRYPTO_set_mem_functions(failing_malloc, failing_realloc, plain_free); /* before OpenSSL's first allocation */
}

/* Fails the Nth allocation of a session.  Whatever the ends then see, they end: by an error, by the peer's, or by success. */
TEST(out_of_memory_anywhere)
{
	long n = 1, fault_left;

	CHECK(tls_of(true) != NULL && tls_of(false) != NULL);
	stage_open();
	do {
		struct end c = { NEVER, .to_send = 40000 }, s = { NEVER, .to_send = 40000 };

		fail_at = n;
		connect_pair(&c, &s, true);
		RUN_UNTIL((c.got == 40000 && s.got == 40000) || c.errors + c.ends + s.errors + s.ends > 0);
		fault_left = fail_at;
		fail_at = 0;
		CHECK(!c.bad && !s.bad);
		end_close(&c);
		end_close(&s);
		stream_reap();
		n += n < 50 ? 1 : n / 10;
	} while (fault_left == 0 && n < 100000);
	CHECK(n < 100000);
	stage_close();
}
