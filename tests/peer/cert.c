/* Makes test certificates with OpenSSL; see cert.h.
 *
 * For: tests that speak TLS to the relay or to each other.  Never: used outside of tests; keys are written unprotected.
 *
 * The one idea: two calls of issue(), first self-signed for the CA, then signed by it; nothing is taken from the system. */
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "tests/peer/cert.h"

#define DAY_S 86400

static bool
extend(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext;
	bool ok;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ok = ext != NULL && X509_add_ext(cert, ext, -1) == 1;
	X509_EXTENSION_free(ext);
	return ok;
}

/* A certificate for key, signed with issuer_key; issuer NULL = a CA that signs itself; common_name NULL = an empty subject. The caller
 * frees it. */
static X509 *
issue(const char *common_name, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key, long serial)
{
	X509 *cert = X509_new();
	X509_NAME *name;
	bool ok;

	if (cert == NULL)
		return NULL;
	name = X509_get_subject_name(cert);
	X509_set_version(cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), serial);
	X509_gmtime_adj(X509_getm_notBefore(cert), -DAY_S / 24);
	X509_gmtime_adj(X509_getm_notAfter(cert), DAY_S);
	X509_set_pubkey(cert, key);
	if (common_name != NULL)
		X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)common_name, -1, -1, 0);
	X509_set_issuer_name(cert, issuer != NULL ? X509_get_subject_name(issuer) : name);
	if (issuer == NULL)
		ok = extend(cert, cert, NID_basic_constraints, "critical,CA:TRUE") &&
		     extend(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign");
	else
		ok = extend(cert, issuer, NID_basic_constraints, "critical,CA:FALSE") &&
		     extend(cert, issuer, NID_subject_alt_name, "IP:127.0.0.1,DNS:localhost");
	if (ok && X509_sign(cert, issuer_key, EVP_sha256()) > 0)
		return cert;
	X509_free(cert);
	return NULL;
}

static bool
write_cert(const char *path, X509 *cert)
{
	FILE *f = fopen(path, "w");
	bool ok = f != NULL && PEM_write_X509(f, cert) == 1;

	return (f == NULL || fclose(f) == 0) && ok;
}

static bool
write_key(const char *path, EVP_PKEY *key)
{
	FILE *f = fopen(path, "w");
	bool ok = f != NULL && PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1;

	return (f == NULL || fclose(f) == 0) && ok;
}

static bool
make(const char *dir, const char *name, const char *common_name, struct cert_files *files)
{
	EVP_PKEY *ca_key = EVP_EC_gen("P-256"), *key = EVP_EC_gen("P-256");
	X509 *ca = NULL, *cert = NULL;
	bool ok = false;

	snprintf(files->ca, sizeof files->ca, "%s/%s-ca.pem", dir, name);
	snprintf(files->cert, sizeof files->cert, "%s/%s.pem", dir, name);
	snprintf(files->key, sizeof files->key, "%s/%s.key", dir, name);
	if (ca_key != NULL && key != NULL && (ca = issue("test CA", ca_key, NULL, ca_key, 1)) != NULL &&
	    (cert = issue(common_name, key, ca, ca_key, 2)) != NULL)
		ok = write_cert(files->ca, ca) && write_cert(files->cert, cert) && write_key(files->key, key);
	X509_free(ca);
	X509_free(cert);
	EVP_PKEY_free(ca_key);
	EVP_PKEY_free(key);
	return ok;
}

bool
cert_make(const char *dir, const char *name, struct cert_files *files)
{
	return make(dir, name, "localhost", files);
}

bool
cert_make_unnamed(const char *dir, const char *name, struct cert_files *files)
{
	return make(dir, name, NULL, files);
}
