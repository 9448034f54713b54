/* Fuzz target of protocol/http.c: a verdict does not depend on how the bytes arrive, and what is written can be read again.
 *
 * Input: byte 0 = what the rest is (bit 0: 0 a request, 1 an answer).  The head is parsed at every length: PROTO_MORE up to the
 * verdict, then the same verdict for every longer input.  What was accepted is looked through for what may never be in it, then
 * formatted from its values, parsed again and compared. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define EVERY_LENGTH 1200 /* bytes: longer inputs are parsed at every 37th length only */

static void
must(bool condition)
{
	if (!condition)
		abort();
}

static enum proto_err
parse(bool request, const uint8_t *buf, size_t len, struct http_head *head, size_t *used)
{
	return request ? http_parse_request(buf, len, head, used) : http_parse_response(buf, len, head, used);
}

/* Parses the first n bytes of buf in a block of their own size. */
static enum proto_err
parse_prefix(bool request, const uint8_t *buf, size_t n, size_t *used)
{
	struct http_head head;
	uint8_t *copy = malloc(n > 0 ? n : 1);
	enum proto_err err;

	must(copy != NULL);
	memcpy(copy, buf, n);
	err = parse(request, n > 0 ? copy : NULL, n, &head, used);
	free(copy);
	return err;
}

static void
check_prefixes(bool request, const uint8_t *buf, size_t len, enum proto_err whole, size_t whole_used)
{
	size_t step = len <= EVERY_LENGTH ? 1 : 37, n, used;
	enum proto_err last = PROTO_MORE;

	for (n = 0; n <= len; n += step) {
		enum proto_err err = parse_prefix(request, buf, n, &used);

		must(last == PROTO_MORE || err == last);
		must(err == PROTO_MORE || err == whole);
		must(err != PROTO_OK || (used == whole_used && n >= used));
		last = err;
	}
	must(whole != PROTO_OK || parse_prefix(request, buf, whole_used - 1, &used) == PROTO_MORE);
	must(whole != PROTO_MORE || len < HTTP_HEAD_MAX);
}

static void
check_inside(struct view v, const uint8_t *buf, size_t used)
{
	must(v.len == 0 || (v.ptr >= buf && v.len <= used && v.ptr + v.len <= buf + used));
}

/* Nothing in an accepted head can mean something else to another reader. */
static void
check_head(const uint8_t *buf, size_t used, const struct http_head *head)
{
	size_t i, lines = 0;

	for (i = 0; i < used; i++) {
		must(buf[i] == '\t' || buf[i] == '\r' || buf[i] == '\n' || (buf[i] >= ' ' && buf[i] != 0x7f));
		must((buf[i] == '\n') == (i > 0 && buf[i - 1] == '\r'));
		must(buf[i] != '\n' || i + 1 == used || (buf[i + 1] != ' ' && buf[i + 1] != '\t'));
		lines += buf[i] == '\n';
	}
	must(used >= 4 && memcmp(buf + used - 4, "\r\n\r\n", 4) == 0);
	must(head->nheader <= HTTP_HEADERS_MAX && lines == head->nheader + 2);
	for (i = 0; i < head->nheader; i++) {
		check_inside(head->header[i].name, buf, used);
		check_inside(head->header[i].value, buf, used);
		must(head->header[i].name.len > 0 && memchr(head->header[i].name.ptr, ' ', head->header[i].name.len) == NULL);
	}
	check_inside(head->target, buf, used);
	check_inside(head->path, buf, used);
	check_inside(head->query, buf, used);
	check_inside(head->reason, buf, used);
}

static void
check_lists(const struct http_head *head, const uint8_t *buf, size_t used)
{
	struct view line, item, param = http_query_param(head->query, "baas_at");
	size_t at = 0;

	check_inside(param, buf, used);
	must(param.len == 0 || memchr(param.ptr, '&', param.len) == NULL);
	while (http_header_next(head, "sec-websocket-protocol", &at, &line)) {
		while (http_list_next(&line, &item)) {
			check_inside(item, buf, used);
			must(item.len > 0 && memchr(item.ptr, ',', item.len) == NULL);
			must(item.ptr[0] != ' ' && item.ptr[item.len - 1] != ' ');
		}
	}
}

static void
check_request_again(const struct http_head *head)
{
	static char out[2 * HTTP_HEAD_MAX];
	struct http_upgrade up = { head->target, head->host, head->key, head->protocol, head->authorization, head->user_agent };
	size_t n = http_format_request(out, sizeof(out), &up), used;
	struct http_head again;

	must(n > 0 && http_format_request(out, n - 1, &up) == 0);
	if (n > HTTP_HEAD_MAX)
		return;
	must(http_parse_request((const uint8_t *)out, n, &again, &used) == PROTO_OK && used == n);
	must(view_eq(again.target, head->target) && view_eq(again.host, head->host) && view_eq(again.key, head->key));
	must(view_eq(again.protocol, head->protocol) && view_eq(again.authorization, head->authorization));
	must(view_eq(again.user_agent, head->user_agent) && view_eq(again.path, head->path) && view_eq(again.query, head->query));
}

static void
check_101_again(const struct http_head *head)
{
	static char out[2 * HTTP_HEAD_MAX];
	size_t n = http_format_101(out, sizeof(out), head->accept, head->protocol, head->user_agent), used;
	struct http_head again;

	must(n > 0);
	if (n > HTTP_HEAD_MAX)
		return;
	must(http_parse_response((const uint8_t *)out, n, &again, &used) == PROTO_OK && used == n && again.status == 101);
	must(view_eq(again.accept, head->accept) && view_eq(again.protocol, head->protocol));
}

static void
check_refusal_again(const struct http_head *head)
{
	static char out[2 * HTTP_HEAD_MAX];
	struct http_head again;
	size_t n, used;

	n = http_format_answer(out, sizeof(out), head->status, head->reason, head->header, head->nheader, 7, true);
	must((n > 0) == (head->status >= 200));
	if (n == 0 || n > HTTP_HEAD_MAX || head->nheader + 2 > HTTP_HEADERS_MAX)
		return;
	must(http_parse_response((const uint8_t *)out, n, &again, &used) == PROTO_OK && used == n);
	must(again.status == head->status && view_eq(again.reason, head->reason) && view_eq(again.location, head->location));
	must(again.has_content_length && again.content_length == 7 && !again.chunked && again.nheader <= head->nheader + 2);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct http_head head;
	enum proto_err err;
	bool request;
	size_t used;

	if (len < 1)
		return 0;
	request = (data[0] & 1) == 0;
	data++;
	len--;
	err = parse(request, data, len, &head, &used);
	must(used <= len && used <= HTTP_HEAD_MAX);
	check_prefixes(request, data, len, err, used);
	if (err != PROTO_OK && err != PROTO_HTTP_NOT_UPGRADE)
		return 0;
	check_head(data, used, &head);
	check_lists(&head, data, used);
	if (err == PROTO_OK && request)
		check_request_again(&head);
	else if (err == PROTO_OK && head.status == 101)
		check_101_again(&head);
	else if (err == PROTO_OK)
		check_refusal_again(&head);
	return 0;
}
