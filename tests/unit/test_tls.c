/* Tests what relay/tls makes of its settings: versions, ALPN, certificates on either side, pins, resumption, and files that are replaced.
 *
 * One end is a stream with the context under test, the other is OpenSSL used directly (struct peer), so that each may be asked for what the
 * other would never do. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include "tests/unit/stream_pair.h"

static struct cert_files ours, other; /* two authorities, and a certificate of each */

static bool
make_certificates(void)
{
	return ours.ca[0] != '\0' || (cert_make(harness_tmpdir(), "ours", &ours) && cert_make(harness_tmpdir(), "other", &other));
}

static struct tls_context *
server_of(struct tls_settings s)
{
	char why[600] = "";
	struct tls_context *t;

	s.certificate = s.certificate != NULL ? s.certificate : ours.cert;
	s.key = s.key != NULL ? s.key : ours.key;
	t = tls_server_new(&s, why, sizeof why);
	if (t == NULL)
		harness_fail(__FILE__, __LINE__, "%s", why);
	return t;
}

static struct tls_context *
client_of(struct tls_settings s)
{
	char why[600] = "";
	struct tls_context *t = tls_client_new(&s, why, sizeof why);

	if (t == NULL)
		harness_fail(__FILE__, __LINE__, "%s", why);
	return t;
}

/* ---- OpenSSL as the peer ---- */

struct peer {
	SSL *ssl;
	int fd;
	bool open, failed;
	uint64_t got;
};

static SSL_CTX *
peer_ctx(bool server, const struct cert_files *own)
{
	SSL_CTX *ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());

	if (own != NULL) {
		SSL_CTX_use_certificate_chain_file(ctx, own->cert);
		SSL_CTX_use_PrivateKey_file(ctx, own->key, SSL_FILETYPE_PEM);
	}
	return ctx;
}

static void
peer_open(struct peer *p, SSL_CTX *ctx, bool server, int fd)
{
	memset(p, 0, sizeof *p);
	p->fd = fd;
	fcntl(fd, F_SETFL, O_NONBLOCK);
	p->ssl = SSL_new(ctx);
	SSL_set_fd(p->ssl, fd);
	if (server)
		SSL_set_accept_state(p->ssl);
	else
		SSL_set_connect_state(p->ssl);
}

static void
peer_step(struct peer *p)
{
	uint8_t buf[4096];
	size_t n = 0;
	int ret;

	if (!p->failed && !p->open) {
		ret = SSL_do_handshake(p->ssl);
		p->open = ret == 1;
		p->failed = ret != 1 && SSL_get_error(p->ssl, ret) != SSL_ERROR_WANT_READ && SSL_get_error(p->ssl, ret) != SSL_ERROR_WANT_WRITE;
	}
	while (p->open && !p->failed && (ret = SSL_read_ex(p->ssl, buf, sizeof buf, &n)) == 1)
		p->got += n;
	if (p->open && !p->failed && SSL_get_error(p->ssl, 0) != SSL_ERROR_WANT_READ)
		p->failed = true;
	pass();
}

static void
peer_close(struct peer *p)
{
	SSL_free(p->ssl);
	close(p->fd);
}

#define PEER_UNTIL(p, cond) \
	do { \
		uint64_t give_up_ = clock_now_ms() + LIMIT_MS; \
		while (!(cond)) { \
			peer_step(&(p)); \
			if (clock_now_ms() > give_up_) { \
				harness_fail(__FILE__, __LINE__, "waited %d ms in vain for %s", LIMIT_MS, #cond); \
				return; \
			} \
		} \
	} while (0)

/* The context t as server against a client of ctx: how it ends, and what the stream saw. */
struct outcome {
	bool open, refused; /* both ends are open; one of them ended before it gave or got the byte that each sends */
	bool has_subject;
	char subject[256];
	char why[256];
};

static struct outcome
as_server(struct tls_context *t, SSL_CTX *ctx)
{
	struct end s = { .close_on = -1, .to_send = 1 };
	struct outcome out = { 0 };
	uint64_t give_up = clock_now_ms() + LIMIT_MS;
	struct peer p;
	int fds[2];
	size_t n;

	stage_open();
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0)
		abort();
	s.s = stream_accept(fds[0], t, end_cb, &s);
	peer_open(&p, ctx, false, fds[1]);
	while (!out.open && !out.refused && clock_now_ms() < give_up) {
		bool was = p.open;

		peer_step(&p);
		if (p.open && !was)
			(void)SSL_write_ex(p.ssl, "", 1, &n); /* pattern(0) */
		out.open = p.got == 1 && s.got == 1;
		out.refused = p.failed || s.errors > 0;
	}
	while (out.refused && s.errors == 0 && s.ends == 0 && clock_now_ms() < give_up)
		peer_step(&p);
	if (out.open)
		out.has_subject = stream_subject(s.s, out.subject, sizeof out.subject);
	snprintf(out.why, sizeof out.why, "%s", s.why);
	end_close(&s);
	peer_close(&p);
	stage_close();
	return out;
}

/* ---- versions, ALPN ---- */

TEST(oldest_version_of_a_client)
{
	struct tls_context *strict, *lax;
	SSL_CTX *old;

	CHECK(make_certificates());
	strict = server_of((struct tls_settings){ 0 });
	lax = server_of((struct tls_settings){ .tls12 = true });
	old = peer_ctx(false, NULL);
	CHECK(as_server(strict, old).open && as_server(lax, old).open);
	SSL_CTX_set_max_proto_version(old, TLS1_2_VERSION);
	CHECK(as_server(strict, old).refused);
	CHECK(as_server(lax, old).open);
	SSL_CTX_set_cipher_list(old, "AES128-SHA"); /* no forward secrecy */
	CHECK(as_server(lax, old).refused);
	SSL_CTX_set_cipher_list(old, "ECDHE-ECDSA-AES128-SHA"); /* no authenticated encryption */
	CHECK(as_server(lax, old).refused);
	SSL_CTX_free(old);
	SSL_CTX_set_max_proto_version((old = peer_ctx(false, NULL)), TLS1_1_VERSION);
	SSL_CTX_set_cipher_list(old, "ALL:@SECLEVEL=0");
	CHECK(as_server(lax, old).refused);
	SSL_CTX_free(old);
	tls_free(strict);
	tls_free(lax);
}

TEST(alpn_of_a_client)
{
	static const uint8_t http11[] = "\x08http/1.1", h2[] = "\x02h2", both[] = "\x02h2\x08http/1.1";
	SSL_CTX *ctx;
	struct tls_context *t;

	CHECK(make_certificates());
	t = server_of((struct tls_settings){ 0 });
	ctx = peer_ctx(false, NULL);
	CHECK(as_server(t, ctx).open);
	SSL_CTX_set_alpn_protos(ctx, http11, sizeof http11 - 1);
	CHECK(as_server(t, ctx).open);
	SSL_CTX_set_alpn_protos(ctx, both, sizeof both - 1);
	CHECK(as_server(t, ctx).open);
	SSL_CTX_set_alpn_protos(ctx, h2, sizeof h2 - 1);
	CHECK(as_server(t, ctx).refused);
	SSL_CTX_free(ctx);
	tls_free(t);
}

/* ---- client certificates ---- */

TEST(certificate_of_a_client)
{
	struct tls_context *must, *may, *none;
	SSL_CTX *bare, *good, *bad;
	struct outcome o;

	CHECK(make_certificates());
	must = server_of((struct tls_settings){ .ca = ours.ca, .verify = true });
	may = server_of((struct tls_settings){ .ca = ours.ca });
	none = server_of((struct tls_settings){ 0 });
	bare = peer_ctx(false, NULL), good = peer_ctx(false, &ours), bad = peer_ctx(false, &other);
	o = as_server(must, good);
	CHECK(o.open && o.has_subject);
	CHECK_STR(o.subject, "CN=localhost");
	o = as_server(may, good);
	CHECK(o.open && o.has_subject);
	o = as_server(must, bare);
	CHECK(o.refused);
	CHECK_STR(o.why, "tls: peer did not return a certificate");
	o = as_server(may, bare);
	CHECK(o.open && !o.has_subject);
	o = as_server(must, bad);
	CHECK(o.refused && strncmp(o.why, "tls: certificate verify failed: ", 32) == 0);
	CHECK(as_server(may, bad).refused);
	o = as_server(none, good); /* not asked for */
	CHECK(o.open && !o.has_subject);
	SSL_CTX_free(bare), SSL_CTX_free(good), SSL_CTX_free(bad);
	tls_free(must), tls_free(may), tls_free(none);
}

/* A certificate that only its alternative names describe is one all the same. */
TEST(certificate_without_a_subject)
{
	struct cert_files unnamed;
	struct tls_context *t;
	struct outcome o;
	SSL_CTX *ctx;

	CHECK(make_certificates() && cert_make_unnamed(harness_tmpdir(), "unnamed", &unnamed));
	t = server_of((struct tls_settings){ .ca = unnamed.ca, .verify = true });
	ctx = peer_ctx(false, &unnamed);
	o = as_server(t, ctx);
	CHECK(o.open && o.has_subject);
	CHECK_STR(o.subject, "");
	SSL_CTX_free(ctx);
	tls_free(t);
}

/* ---- upstream ---- */

/* A stream of t connects to a server of ctx; both exchange a byte.  Bytes of the handshake and what follows it at once (tickets) in both
 * directions are counted. */
struct dial {
	bool open, resumed, verified, cert_failed;
	char why[256], alpn[16], peer[64], name[64]; /* name: that the client asked for (SNI) */
	uint64_t bytes_up, bytes_down;
};

static void
note_peer(struct dial *out, SSL *ssl)
{
	const unsigned char *proto;
	unsigned len;
	X509 *cert = SSL_get0_peer_certificate(ssl);
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

	snprintf(out->name, sizeof out->name, "%s", name != NULL ? name : "");
	SSL_get0_alpn_selected(ssl, &proto, &len);
	snprintf(out->alpn, sizeof out->alpn, "%.*s", (int)len, (const char *)proto);
	if (cert != NULL)
		X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, out->peer, sizeof out->peer);
	out->bytes_up = BIO_number_read(SSL_get_rbio(ssl));
	out->bytes_down = BIO_number_written(SSL_get_wbio(ssl));
}

static struct dial
dial(struct tls_context *t, SSL_CTX *ctx, const char *host)
{
	struct end c = { .close_on = -1 };
	struct dial out = { 0 };
	uint64_t give_up = clock_now_ms() + LIMIT_MS;
	struct peer p;
	size_t n;

	stage_open();
	peer_open(&p, ctx, true, connect_stream(&c, t, host));
	while (!(c.opens == 1 && p.open) && c.errors == 0 && !p.failed && clock_now_ms() < give_up)
		peer_step(&p);
	if (p.open) {
		note_peer(&out, p.ssl);
		(void)SSL_write_ex(p.ssl, "", 1, &n); /* behind the tickets */
	}
	while (c.got == 0 && c.errors == 0 && c.ends == 0 && clock_now_ms() < give_up)
		peer_step(&p);
	out.open = c.got == 1;
	if (c.errors == 0)
		out.resumed = stream_resumed(c.s);
	out.verified = c.verified;
	out.cert_failed = c.cert_failed;
	snprintf(out.why, sizeof out.why, "%s", c.why);
	end_close(&c);
	peer_close(&p);
	stage_close();
	return out;
}

static int
choose_http(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in, unsigned in_len, void *arg)
{
	(void)ssl;
	(void)arg;
	*out = in + 1;
	*out_len = in[0];
	return in_len == (unsigned)in[0] + 1 ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL; /* one offer */
}

TEST(oldest_version_and_alpn_of_a_server)
{
	struct tls_context *strict, *lax;
	SSL_CTX *ctx;
	struct dial o;

	CHECK(make_certificates());
	strict = client_of((struct tls_settings){ .ca = ours.ca, .verify = true });
	lax = client_of((struct tls_settings){ .ca = ours.ca, .verify = true, .tls12 = true });
	ctx = peer_ctx(true, &ours);
	SSL_CTX_set_alpn_select_cb(ctx, choose_http, NULL);
	o = dial(strict, ctx, "localhost");
	CHECK(o.open && o.verified);
	CHECK_STR(o.alpn, "http/1.1");
	SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
	CHECK(!dial(strict, ctx, "localhost").open);
	CHECK(dial(lax, ctx, "localhost").open);
	SSL_CTX_free(ctx);
	tls_free(strict), tls_free(lax);
}

/* RFC 6066, section 3: the name without its last dot; never an address. */
TEST(name_that_a_server_is_told)
{
	static const char *const cases[][2] = { { "localhost", "localhost" }, { "localhost.", "localhost" }, { "127.0.0.1", "" } };
	struct tls_context *t;
	SSL_CTX *ctx;

	CHECK(make_certificates());
	t = client_of((struct tls_settings){ .ca = ours.ca, .verify = true });
	ctx = peer_ctx(true, &ours);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct dial o = dial(t, ctx, cases[i][0]);

		CHECK(o.open && o.verified);
		CHECK_STR(o.name, cases[i][1]);
	}
	SSL_CTX_free(ctx);
	tls_free(t);
}

TEST(certificate_for_a_server)
{
	struct tls_context *t;
	SSL_CTX *ctx;

	CHECK(make_certificates());
	t = client_of((struct tls_settings){ .ca = ours.ca, .verify = true, .certificate = other.cert, .key = other.key });
	ctx = peer_ctx(true, &ours);
	CHECK_STR(dial(t, ctx, "localhost").peer, "");
	SSL_CTX_load_verify_file(ctx, other.ca);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"test", 4);
	CHECK_STR(dial(t, ctx, "localhost").peer, "localhost");
	SSL_CTX_free(ctx);
	tls_free(t);
}

/* The pin of a certificate file, as the manual says to compute it. */
static void
pin_of(const char *file, char out[64])
{
	FILE *f = fopen(file, "re");
	X509 *cert = f != NULL ? PEM_read_X509(f, NULL, NULL, NULL) : NULL;
	unsigned char *der = NULL, hash[32];
	int len = cert != NULL ? i2d_PUBKEY(X509_get0_pubkey(cert), &der) : 0;

	EVP_Digest(der, (size_t)len, hash, NULL, EVP_sha256(), NULL);
	EVP_EncodeBlock((unsigned char *)out, hash, sizeof hash);
	OPENSSL_free(der);
	X509_free(cert);
	if (f != NULL)
		fclose(f);
}

TEST(pins)
{
	char right[64], wrong[64], both[130];
	struct tls_context *t;
	SSL_CTX *ctx;
	struct dial o;

	CHECK(make_certificates());
	pin_of(ours.cert, right);
	pin_of(other.cert, wrong);
	snprintf(both, sizeof both, "%s %s", wrong, right);
	ctx = peer_ctx(true, &ours);
	const struct {
		const char *pin, *ca;
		bool verify, open;
		const char *host;
	} cases[] = {
		{ right, ours.ca, true, true, "localhost" },    { wrong, ours.ca, true, false, "localhost" },
		{ both, ours.ca, true, true, "localhost" },     { right, other.ca, true, false, "localhost" },
		{ right, ours.ca, true, false, "example.com" }, { right, other.ca, false, true, "example.com" },
		{ wrong, ours.ca, false, false, "localhost" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		t = client_of((struct tls_settings){ .ca = cases[i].ca, .verify = cases[i].verify, .pin = cases[i].pin });
		o = dial(t, ctx, cases[i].host);
		CHECK(o.open == cases[i].open && o.verified == cases[i].open && o.cert_failed == !cases[i].open);
		if (i == 1)
			CHECK_STR(o.why, "tls: certificate verify failed: its public key is none that is pinned");
		tls_free(t);
	}
	SSL_CTX_free(ctx);
}

TEST(pins_that_are_none)
{
	static const char *const bad[] = { "x", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", /* 43 characters */
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"!AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" };
	char why[256];

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		CHECK(tls_client_new(&(struct tls_settings){ .pin = bad[i] }, why, sizeof why) == NULL);
		CHECK_STR(why, "pin: want base64 of a SHA-256, at most 4 of them");
	}
}

/* A ticket saves most of a handshake; it is for one host, ends with a failed handshake, and with new files. */
TEST(session_is_resumed)
{
	struct tls_context *t;
	SSL_CTX *ctx, *thief;
	struct dial full, brief;
	char why[600];

	CHECK(make_certificates());
	t = client_of((struct tls_settings){ .ca = ours.ca, .verify = true });
	ctx = peer_ctx(true, &ours);
	full = dial(t, ctx, "localhost");
	brief = dial(t, ctx, "localhost");
	CHECK(full.open && !full.resumed && brief.open && brief.resumed && brief.verified);
	printf("# handshake with a P-256 certificate: full %llu bytes up, %llu down; resumed %llu up, %llu down\n",
	       (unsigned long long)full.bytes_up, (unsigned long long)full.bytes_down, (unsigned long long)brief.bytes_up,
	       (unsigned long long)brief.bytes_down);
	CHECK(brief.bytes_up + brief.bytes_down < full.bytes_up + full.bytes_down);
	CHECK(dial(t, ctx, "localhost").resumed);
	CHECK(!dial(t, ctx, "127.0.0.1").resumed);
	CHECK(dial(t, ctx, "127.0.0.1").resumed);
	thief = peer_ctx(true, &other);
	CHECK(dial(t, thief, "127.0.0.1").cert_failed);
	CHECK(!dial(t, ctx, "127.0.0.1").resumed);
	CHECK(dial(t, ctx, "127.0.0.1").resumed);
	CHECK(tls_reload(t, why, sizeof why));
	CHECK(!dial(t, ctx, "127.0.0.1").resumed);
	SSL_CTX_free(ctx), SSL_CTX_free(thief);
	tls_free(t);
}

/* ---- files that are replaced ---- */

static bool
copy(const char *from, const char *to)
{
	char buf[8192];
	FILE *in = fopen(from, "re"), *out = fopen(to, "we");
	size_t n = in != NULL ? fread(buf, 1, sizeof buf, in) : 0;
	bool ok = out != NULL && fwrite(buf, 1, n, out) == n && n > 0;

	if (in != NULL)
		fclose(in);
	return (out == NULL || fclose(out) == 0) && ok;
}

TEST(files_are_replaced)
{
	char cert[300], key[300], why[600];
	struct tls_context *t;
	SSL_CTX *ctx;

	CHECK(make_certificates());
	snprintf(cert, sizeof cert, "%s/cert", harness_tmpdir());
	snprintf(key, sizeof key, "%s/key", harness_tmpdir());
	CHECK(copy(ours.cert, cert) && copy(ours.key, key));
	t = server_of((struct tls_settings){ .certificate = cert, .key = key });
	ctx = peer_ctx(false, NULL);
	SSL_CTX_load_verify_file(ctx, ours.ca);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	CHECK(!tls_changed(t) && as_server(t, ctx).open);
	CHECK(copy(other.cert, cert)); /* half way: certificate and key do not fit */
	CHECK(tls_changed(t) && !tls_reload(t, why, sizeof why));
	CHECK(strstr(why, "key values mismatch") != NULL);
	CHECK(!tls_changed(t) && as_server(t, ctx).open); /* the last good one */
	CHECK(unlink(key) == 0 && tls_changed(t) && !tls_reload(t, why, sizeof why) && as_server(t, ctx).open);
	CHECK(copy(other.key, key) && tls_changed(t) && tls_reload(t, why, sizeof why));
	CHECK(as_server(t, ctx).refused);
	SSL_CTX_free(ctx);
	ctx = peer_ctx(false, NULL);
	SSL_CTX_load_verify_file(ctx, other.ca);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	CHECK(as_server(t, ctx).open);
	SSL_CTX_free(ctx);
	tls_free(t);
}

/* A handshake that is under way goes on with what it began with: pins, too. */
TEST(files_are_replaced_during_a_handshake)
{
	struct end c = { .close_on = -1 };
	char pin[64], why[600] = "";
	struct pollfd readable;
	struct tls_context *t;
	struct peer p;
	SSL_CTX *ctx;

	CHECK(make_certificates());
	pin_of(ours.cert, pin);
	ctx = peer_ctx(true, &ours);
	for (int verify = 0; verify < 2; verify++) {
		t = client_of((struct tls_settings){ .ca = verify ? ours.ca : other.ca, .verify = verify, .pin = pin });
		memset(&c, 0, sizeof c);
		c.close_on = -1;
		stage_open();
		peer_open(&p, ctx, true, connect_stream(&c, t, "localhost"));
		readable = (struct pollfd){ .fd = p.fd, .events = POLLIN };
		RUN_UNTIL(poll(&readable, 1, 0) == 1); /* ClientHello */
		CHECK(tls_reload(t, why, sizeof why));
		PEER_UNTIL(p, (c.opens == 1 && p.open) || c.errors > 0);
		CHECK_STR(c.why, "");
		CHECK(c.opens == 1 && !c.cert_failed);
		end_close(&c);
		peer_close(&p);
		stage_close();
		CHECK(!dial(t, ctx, "localhost").resumed); /* its ticket is none of the new context's */
		tls_free(t);
	}
	SSL_CTX_free(ctx);
}

/* Nobody is asked for it at a terminal. */
TEST(key_with_a_passphrase)
{
	char key[300], why[600];
	FILE *f;
	EVP_PKEY *k = EVP_EC_gen("P-256");

	CHECK(make_certificates());
	snprintf(key, sizeof key, "%s/key", harness_tmpdir());
	f = fopen(key, "we");
	CHECK(f != NULL && PEM_write_PrivateKey(f, k, EVP_aes_256_cbc(), (const unsigned char *)"secret", 6, NULL, NULL) == 1);
	fclose(f);
	EVP_PKEY_free(k);
	CHECK(tls_server_new(&(struct tls_settings){ .certificate = ours.cert, .key = key }, why, sizeof why) == NULL);
	CHECK(strncmp(why, "private key ", 12) == 0);
}
