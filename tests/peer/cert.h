/* A throw-away CA and a server certificate signed by it, for TLS tests on loopback. */
#ifndef TESTS_PEER_CERT_H
#define TESTS_PEER_CERT_H

#include <stdbool.h>

struct cert_files {
	char ca[512];	/* PEM: what the client verifies with */
	char cert[512]; /* PEM: the server's, for 127.0.0.1 and localhost */
	char key[512];	/* PEM */
};

/* Makes keys and certificates (P-256, valid for a day) and writes them into dir as <name>-ca.pem, <name>.pem and <name>.key. */
bool cert_make(const char *dir, const char *name, struct cert_files *files);

/* The same, and the certificate's subject is empty: only its alternative names say whose it is (RFC 5280 section 4.1.2.6). */
bool cert_make_unnamed(const char *dir, const char *name, struct cert_files *files);

#endif
