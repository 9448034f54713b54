/* Texts for socket addresses and the upstream's URL.
 *
 * Numeric addresses only: whatever needs a name server goes through relay/resolver.  The URL is parsed strictly, as its parts go
 * into a Host header, SNI and certificate verification: no user info (a secret in a file that is shown), no path, query or
 * fragment (the client's own are kept), no characters a host name cannot have. */
#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "relay/address.h"

/* Decimal 0-65535 in all of text, at most 5 digits. */
static bool
parse_port(const char *text, uint16_t *out)
{
	unsigned long v;

	if (text[0] == '\0' || strlen(text) > 5 || strspn(text, "0123456789") != strlen(text))
		return false;
	v = strtoul(text, NULL, 10);
	*out = (uint16_t)v;
	return v <= 65535;
}

/* Splits "host:port" or "[v6]:port" or either without a port (then *port = ""); host without brackets goes to host[len]. */
static bool
split(const char *text, char *host, size_t len, const char **port, bool *bracketed)
{
	const char *start = text, *end;
	size_t n;

	*bracketed = text[0] == '[';
	if (*bracketed) {
		start = text + 1;
		end = strchr(start, ']');
		if (end == NULL || (end[1] != '\0' && end[1] != ':'))
			return false;
		*port = end[1] == ':' ? end + 2 : end + 1;
		if (end[1] == ':' && end[2] == '\0')
			return false;
	} else {
		end = strchr(start, ':');
		*port = end != NULL ? end + 1 : "";
		if (end != NULL && end[1] == '\0')
			return false;
		if (end == NULL)
			end = start + strlen(start);
	}
	n = (size_t)(end - start);
	if (n == 0 || n >= len)
		return false;
	memcpy(host, start, n);
	host[n] = '\0';
	return true;
}

bool
address_parse(const char *text, struct sockaddr_storage *out, socklen_t *out_len)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)out;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
	char host[ADDRESS_HOST_MAX];
	const char *port_text;
	bool bracketed;
	uint16_t port;

	if (!split(text, host, sizeof host, &port_text, &bracketed) || !parse_port(port_text, &port))
		return false;
	memset(out, 0, sizeof *out);
	if (bracketed) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(port);
		*out_len = sizeof *v6;
		return inet_pton(AF_INET6, host, &v6->sin6_addr) == 1;
	}
	v4->sin_family = AF_INET;
	v4->sin_port = htons(port);
	*out_len = sizeof *v4;
	return inet_pton(AF_INET, host, &v4->sin_addr) == 1;
}

void
address_format(const struct sockaddr *sa, socklen_t len, char *text)
{
	char ip[INET6_ADDRSTRLEN] = "?";

	if (sa->sa_family == AF_INET && len >= sizeof(struct sockaddr_in)) {
		const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)sa;

		inet_ntop(AF_INET, &v4->sin_addr, ip, sizeof ip);
		snprintf(text, ADDRESS_TEXT_MAX, "%s:%u", ip, ntohs(v4->sin_port));
	} else if (sa->sa_family == AF_INET6 && len >= sizeof(struct sockaddr_in6)) {
		const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)sa;

		inet_ntop(AF_INET6, &v6->sin6_addr, ip, sizeof ip);
		snprintf(text, ADDRESS_TEXT_MAX, "[%s]:%u", ip, ntohs(v6->sin6_port));
	} else {
		snprintf(text, ADDRESS_TEXT_MAX, "unix");
	}
}

static bool
host_name_ok(const char *host)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";

	return strspn(host, allowed) == strlen(host) && host[0] != '.' && host[0] != '-' && strstr(host, "..") == NULL;
}

/* The part between "://" and the end, a trailing "/" already cut. */
static bool
parse_authority(const char *authority, struct address_url *out, char *why, size_t why_len)
{
	const char *port_text;
	struct in6_addr v6;

	if (strchr(authority, '@') != NULL) {
		snprintf(why, why_len, "user name or password in the URL is not supported");
		return false;
	}
	if (authority[strcspn(authority, "/?#")] != '\0') {
		snprintf(why, why_len, "path, query or fragment behind the host: the client's own are used");
		return false;
	}
	if (!split(authority, out->host, sizeof out->host, &port_text, &out->ipv6)) {
		snprintf(why, why_len, "host missing, too long or malformed");
		return false;
	}
	if (out->ipv6 ? inet_pton(AF_INET6, out->host, &v6) != 1 : !host_name_ok(out->host)) {
		snprintf(why, why_len, "not a host name or address");
		return false;
	}
	out->port = out->tls ? 443 : 80;
	if (port_text[0] != '\0' && (!parse_port(port_text, &out->port) || out->port == 0)) {
		snprintf(why, why_len, "port is not a number from 1 to 65535");
		return false;
	}
	return true;
}

/* plain, tls: the two schemes, "://" included. */
static bool
parse_url(const char *text, const char *plain, const char *tls, struct address_url *out, char *why, size_t why_len)
{
	const char *rest;
	char authority[ADDRESS_HOST_MAX + 16];
	size_t n;
	bool own_port;

	memset(out, 0, sizeof *out);
	out->tls = strncasecmp(text, tls, strlen(tls)) == 0;
	if (!out->tls && strncasecmp(text, plain, strlen(plain)) != 0) {
		snprintf(why, why_len, "must start with %s or %s", plain, tls);
		return false;
	}
	rest = text + strlen(out->tls ? tls : plain);
	n = strlen(rest);
	if (n > 0 && rest[n - 1] == '/')
		n--;
	if (n >= sizeof authority) {
		snprintf(why, why_len, "host missing, too long or malformed");
		return false;
	}
	memcpy(authority, rest, n);
	authority[n] = '\0';
	if (!parse_authority(authority, out, why, why_len))
		return false;
	own_port = out->port == (out->tls ? 443 : 80);
	snprintf(out->authority, sizeof out->authority, out->ipv6 ? "[%s]" : "%s", out->host);
	n = strlen(out->authority);
	if (!own_port)
		snprintf(out->authority + n, sizeof out->authority - n, ":%u", out->port);
	return true;
}

bool
address_url(const char *text, struct address_url *out, char *why, size_t why_len)
{
	return parse_url(text, "ws://", "wss://", out, why, why_len);
}

void
address_place(const struct address_url *u, char place[ADDRESS_PLACE_MAX])
{
	snprintf(place, ADDRESS_PLACE_MAX, u->ipv6 ? "[%s]:%u" : "%s:%u", u->host, u->port);
	for (char *p = place; *p != '\0'; p++)
		*p = (char)tolower((unsigned char)*p);
}

bool
address_place_ok(const char *text)
{
	char place[ADDRESS_PLACE_MAX], url[ADDRESS_PLACE_MAX + 8], why[128];
	struct address_url u;

	snprintf(url, sizeof url, "ws://%.*s", ADDRESS_PLACE_MAX, text);
	if (!address_url(url, &u, why, sizeof why))
		return false;
	address_place(&u, place);
	return strcasecmp(place, text) == 0;
}

bool
address_http_url(const char *text, struct address_url *out, char *why, size_t why_len)
{
	return parse_url(text, "http://", "https://", out, why, why_len);
}

bool
address_url_list(const char *text, struct address_urls *out, char *why, size_t why_len)
{
	char one[ADDRESS_HOST_MAX + 32];
	size_t len;

	for (out->n = 0; *(text += strspn(text, " \t")) != '\0'; text += len) {
		len = strcspn(text, " \t");
		if (len >= sizeof one || out->n == ADDRESS_URLS_MAX) {
			snprintf(why, why_len, out->n == ADDRESS_URLS_MAX ? "more than %d of them" : "host missing, too long or malformed",
				 ADDRESS_URLS_MAX);
			return false;
		}
		memcpy(one, text, len);
		one[len] = '\0';
		if (!address_url(one, &out->url[out->n], why, why_len))
			return false;
		if (out->url[out->n].tls != out->url[0].tls) {
			snprintf(why, why_len, "ws:// and wss:// together: tokens would go out in the clear when TLS fails");
			return false;
		}
		out->n++;
	}
	if (out->n == 0)
		snprintf(why, why_len, "host missing, too long or malformed");
	return out->n > 0;
}
