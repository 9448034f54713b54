/* Tests relay/address: listener addresses and the upstream's URL. */
#include <stdio.h>
#include <string.h>

#include "tests/harness.h"

#include "relay/address.h"

TEST(addresses)
{
	static const struct {
		const char *text, *back; /* NULL: malformed */
	} t[] = { { "127.0.0.1:7800", "127.0.0.1:7800" }, { "0.0.0.0:0", "0.0.0.0:0" }, { "[::1]:65535", "[::1]:65535" },
		  { "[2001:DB8::1]:80", "[2001:db8::1]:80" }, { "127.0.0.1", NULL }, { "127.0.0.1:", NULL }, { ":80", NULL },
		  { "127.0.0.1:65536", NULL }, { "127.0.0.1:080000", NULL }, { "127.0.0.1:+80", NULL }, { "127.0.0.1: 80", NULL },
		  { "localhost:80", NULL }, { "::1:80", NULL }, { "[::1]", NULL }, { "[::1]80", NULL }, { "[::1:80", NULL },
		  { "[127.0.0.1]:80", NULL }, { "127.1:80", NULL }, { "", NULL } };

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		char text[ADDRESS_TEXT_MAX];
		struct sockaddr_storage sa;
		socklen_t len;
		bool ok = address_parse(t[i].text, &sa, &len);

		if (ok != (t[i].back != NULL))
			harness_fail(__FILE__, __LINE__, "got %d for %s", ok, t[i].text);
		if (!ok || t[i].back == NULL)
			continue;
		address_format((struct sockaddr *)&sa, len, text);
		CHECK_STR(text, t[i].back);
	}
}

TEST(no_address)
{
	struct sockaddr_storage sa = { .ss_family = AF_UNIX };
	char text[ADDRESS_TEXT_MAX];

	address_format((struct sockaddr *)&sa, sizeof(sa), text);
	CHECK_STR(text, "unix");
	sa.ss_family = AF_INET;
	address_format((struct sockaddr *)&sa, 0, text);
	CHECK_STR(text, "unix");
}

TEST(urls)
{
	static const struct {
		const char *url, *want; /* "tls host port authority", or the complaint */
	} t[] = { { "ws://h", "0 h 80 h" }, { "wss://h", "1 h 443 h" }, { "wss://h:80/", "1 h 80 h:80" }, { "ws://h:80", "0 h 80 h" },
		  { "WSS://Sync.Example.com:443", "1 Sync.Example.com 443 Sync.Example.com" }, { "ws://10.0.0.1:9090", "0 10.0.0.1 9090 10.0.0.1:9090" },
		  { "ws://[::1]:9090", "0 ::1 9090 [::1]:9090" }, { "ws://[::1]", "0 ::1 80 [::1]" },
		  { "http://h", "must start with ws:// or wss://" }, { "h:80", "must start with ws:// or wss://" },
		  { "", "must start with ws:// or wss://" }, { "ws://", "host missing, too long or malformed" },
		  { "ws:///", "host missing, too long or malformed" }, { "ws://:80", "host missing, too long or malformed" },
		  { "ws://h:", "host missing, too long or malformed" }, { "ws://[::1", "host missing, too long or malformed" },
		  { "ws://h/path", "path, query or fragment behind the host: the client's own are used" },
		  { "ws://h?q", "path, query or fragment behind the host: the client's own are used" },
		  { "ws://h#f", "path, query or fragment behind the host: the client's own are used" },
		  { "ws://u:p@h", "user name or password in the URL is not supported" },
		  { "ws://h:0", "port is not a number from 1 to 65535" }, { "ws://h:65536", "port is not a number from 1 to 65535" },
		  { "ws://h:8o", "port is not a number from 1 to 65535" }, { "ws://h h", "not a host name or address" },
		  { "ws://h\r\nX: y", "not a host name or address" }, { "ws://-h", "not a host name or address" },
		  { "ws://a..b", "not a host name or address" }, { "ws://[h]:80", "not a host name or address" } };

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct address_url u;
		char got[700];

		if (address_url(t[i].url, &u, got, sizeof(got)))
			snprintf(got, sizeof(got), "%d %s %u %s", u.tls, u.host, u.port, u.authority);
		CHECK_STR(got, t[i].want);
	}
}

TEST(long_hosts)
{
	char url[700] = "wss://", why[200];
	struct address_url u;

	for (size_t n = 250; n < 600; n++) {
		memset(url + 6, 'h', n);
		memcpy(url + 6 + n, ":65535", 7);
		CHECK(address_url(url, &u, why, sizeof(why)) == (n < ADDRESS_HOST_MAX));
		if (n < ADDRESS_HOST_MAX)
			CHECK_U64(strlen(u.authority), n + 6);
	}
}

TEST(url_lists)
{
	static const struct {
		const char *text, *want;
	} t[] = { { "ws://a", "1 a:80" },
		  { "  wss://a:1 \twss://b  ", "2 a:1 b:443" },
		  { "ws://a ws://b ws://c ws://d ws://e ws://f ws://g ws://h", "8 a:80 b:80 c:80 d:80 e:80 f:80 g:80 h:80" },
		  { "ws://a ws://b ws://c ws://d ws://e ws://f ws://g ws://h ws://i", "more than 8 of them" },
		  { "wss://a ws://b", "ws:// and wss:// together: tokens would go out in the clear when TLS fails" },
		  { "wss://a, wss://b", "not a host name or address" },
		  { "wss://a b", "must start with ws:// or wss://" },
		  { "", "host missing, too long or malformed" },
		  { " ", "host missing, too long or malformed" } };

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct address_urls u;
		char got[700];

		if (address_url_list(t[i].text, &u, got, sizeof(got))) {
			int n = snprintf(got, sizeof(got), "%zu", u.n);

			for (size_t k = 0; k < u.n; k++)
				n += snprintf(got + n, sizeof(got) - (size_t)n, " %s:%u", u.url[k].host, u.url[k].port);
		}
		CHECK_STR(got, t[i].want);
	}
}

TEST(places)
{
	static const struct {
		const char *url, *place;
	} rows[] = {
		{ "ws://Host.Example", "host.example:80" },   { "wss://h", "h:443" },
		{ "ws://h:8080/", "h:8080" },		      { "wss://[::1]:7", "[::1]:7" },
	};
	struct address_url u;
	char place[ADDRESS_PLACE_MAX], why[128];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		CHECK(address_url(rows[i].url, &u, why, sizeof(why)));
		address_place(&u, place);
		CHECK_STR(place, rows[i].place);
		CHECK(address_place_ok(place));
	}
	CHECK(address_place_ok("HOST:443"));
	CHECK(!address_place_ok("host"));
	CHECK(!address_place_ok("ws://host:443"));
	CHECK(!address_place_ok("host:443/path"));
	CHECK(!address_place_ok("host:0443"));
	CHECK(!address_place_ok(""));
}
