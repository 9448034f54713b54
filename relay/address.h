/* Texts for socket addresses and the upstream's URL. */
#ifndef RELAY_ADDRESS_H
#define RELAY_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define ADDRESS_TEXT_MAX 64 /* "[v6%scope]:port" and NUL */
#define ADDRESS_HOST_MAX 254 /* a DNS name has at most 253 bytes (RFC 1035), and NUL */

/* "127.0.0.1:7800" or "[::1]:7800": numeric only.  False if malformed. */
bool address_parse(const char *text, struct sockaddr_storage *out, socklen_t *out_len);
/* The reverse, into text of ADDRESS_TEXT_MAX bytes; "unix" for a socket pair. */
void address_format(const struct sockaddr *sa, socklen_t len, char *text);

struct address_url {
	bool tls;		     /* wss, https */
	bool ipv6;		     /* host is an IPv6 literal (without its brackets) */
	uint16_t port;		     /* 80 or 443 if the URL has none */
	char host[ADDRESS_HOST_MAX]; /* for resolver, SNI and verification */
	char authority[ADDRESS_HOST_MAX + 8]; /* for the Host header: port only if not the scheme's own */
};

/* ws://host[:port] or wss://host[:port], at most "/" behind.  False with a sentence in why. */
bool address_url(const char *text, struct address_url *out, char *why, size_t why_len);
/* Where u leads, without its scheme: "host:port" in small letters, always with the port. */
#define ADDRESS_PLACE_MAX (ADDRESS_HOST_MAX + 8)
void address_place(const struct address_url *u, char place[ADDRESS_PLACE_MAX]);
/* Whether text is of that form. */
bool address_place_ok(const char *text);
/* The same with http:// or https://. */
bool address_http_url(const char *text, struct address_url *out, char *why, size_t why_len);

#define ADDRESS_URLS_MAX 8 /* more alternatives than any service names; each gets its share of connect_timeout */

struct address_urls {
	size_t n;
	struct address_url url[ADDRESS_URLS_MAX];
};

/* One URL or more, blanks between, all of one scheme: behind a wss:// that fails no token may go out in the clear. */
bool address_url_list(const char *text, struct address_urls *out, char *why, size_t why_len);

#endif
