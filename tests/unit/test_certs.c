/* Certificates of the running daemon: replaced in the files, read again by themselves and on SIGHUP, the last good ones kept; and certificates of
 * clients, which offline_admit can take for a token. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/ssl.h>
#include <sys/socket.h>

#include "tests/harness.h"
#include "tests/peer/cert.h"
#include "tests/peer/daemon.h"
#include "tests/peer/rawsock.h"

static struct cert_files ours, other;
static struct daemon d;

static bool
copy(const char *from, const char *to)
{
	char buf[8192], fresh[600];
	FILE *in = fopen(from, "re"), *out;
	size_t n = in != NULL ? fread(buf, 1, sizeof buf, in) : 0;
	bool ok;

	snprintf(fresh, sizeof fresh, "%s.new", to);
	out = fopen(fresh, "we");
	ok = out != NULL && fwrite(buf, 1, n, out) == n && n > 0;
	if (in != NULL)
		fclose(in);
	return (out == NULL || fclose(out) == 0) && ok && rename(fresh, to) == 0;
}

/* Upgrades over TLS, trusting ca, with the certificate own (NULL: none).  The status; 0 when TLS fails. */
static unsigned
upgrade(const char *ca, const struct cert_files *own)
{
	static const char request[] = "GET /p HTTP/1.1\r\nHost: edge\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
				      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: com.mongodb.realm-sync#14\r\n\r\n";
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	int fd = rawsock_connect(d.port, NULL);
	char answer[1024] = "";
	unsigned status = 0;
	size_t n = 0;
	SSL *ssl;

	SSL_CTX_load_verify_file(ctx, ca);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	if (own != NULL) {
		SSL_CTX_use_certificate_chain_file(ctx, own->cert);
		SSL_CTX_use_PrivateKey_file(ctx, own->key, SSL_FILETYPE_PEM);
	}
	ssl = SSL_new(ctx);
	SSL_set_fd(ssl, fd);
	if (SSL_connect(ssl) == 1 && SSL_write_ex(ssl, request, sizeof request - 1, &n) == 1 &&
	    SSL_read_ex(ssl, answer, sizeof answer - 1, &n) == 1)
		(void)sscanf(answer, "HTTP/1.1 %u", &status);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	close(fd);
	return status;
}

/* Starts it with the certificates in files of its own, in cert and key. */
static bool
start(const char *listener, char cert[600], char key[600])
{
	const char *dir = harness_tmpdir();
	char config[2048];

	snprintf(cert, 600, "%s/cert", dir);
	snprintf(key, 600, "%s/key", dir);
	snprintf(config, sizeof config, "tls_certificate = %s\ntls_key = %s\n%s[upstream]\nurl = ws://127.0.0.1:1\n", cert, key, listener);
	return cert_make(dir, "ours", &ours) && cert_make(dir, "other", &other) && copy(ours.cert, cert) && copy(ours.key, key) &&
	       daemon_start(&d, dir, config) && daemon_logged(&d, "state=down") != NULL;
}

TEST(read_again)
{
	char cert[600], key[600];

	if (!daemon_is_built())
		SKIP("the daemon is not built");
	signal(SIGPIPE, SIG_IGN);
	CHECK(start("offline_admit = any\n", cert, key));
	CHECK_U64(upgrade(ours.ca, NULL), 101);
	CHECK_U64(upgrade(other.ca, NULL), 0);
	CHECK(copy(other.cert, cert)); /* alone it does not fit the key: on SIGHUP, too */
	CHECK(daemon_logged(&d, "event=certificates_kept for=listener") != NULL);
	kill(d.pid, SIGHUP);
	CHECK(daemon_logged(&d, "event=reloaded") != NULL);
	CHECK_U64(upgrade(ours.ca, NULL), 101);
	CHECK(copy(other.key, key));
	CHECK(daemon_logged(&d, "event=certificates_read for=listener") != NULL);
	CHECK_U64(upgrade(other.ca, NULL), 101);
	CHECK_U64(upgrade(ours.ca, NULL), 0);
	CHECK(daemon_stop(&d));
}

TEST(certificates_of_clients)
{
	char cert[600], key[600], listener[1400];
	const char *dir;

	if (!daemon_is_built())
		SKIP("the daemon is not built");
	dir = harness_tmpdir();
	CHECK(cert_make(dir, "fleet", &other)); /* start makes them anew: these are kept aside */
	snprintf(listener, sizeof listener, "client_ca = %s/fleet-ca.pem\nclient_certificate = no\noffline_admit = certificate\n", dir);
	CHECK(start(listener, cert, key));
	CHECK_U64(upgrade(ours.ca, NULL), 503);
	snprintf(other.cert, sizeof other.cert, "%s/fleet.pem", dir);
	snprintf(other.key, sizeof other.key, "%s/fleet.key", dir);
	CHECK_U64(upgrade(ours.ca, &other), 101);
	CHECK(daemon_logged(&d, "event=conn_open") != NULL && strstr(d.line, "subject=\"CN=localhost\"") != NULL);
	CHECK_U64(upgrade(ours.ca, &ours), 0); /* of another authority */
	CHECK(daemon_stop(&d));
}
