/* The words for enum proto_err.
 *
 * They describe what the peer sent, never quote it: input stays out of logs
 * unless the relay escapes it first (facts.md, limits).  The switch has no
 * default, so the compiler names a code that was added without its words. */
#include "protocol/err.h"

const char *
proto_strerror(enum proto_err err)
{
	switch (err) {
	case PROTO_OK:
		return "success";
	case PROTO_MORE:
		return "more input needed";

	case PROTO_WS_RESERVED:
		return "WebSocket frame with a reserved bit or opcode";
	case PROTO_WS_MASK:
		return "WebSocket frame masked on the wrong side";
	case PROTO_WS_LENGTH:
		return "WebSocket frame length not in its shortest form, or over 63 bits";
	case PROTO_WS_CONTROL:
		return "WebSocket control frame too long or fragmented";
	case PROTO_WS_ORDER:
		return "WebSocket frame out of order";
	case PROTO_WS_CLOSE:
		return "malformed WebSocket close payload";
	case PROTO_WS_TOO_BIG:
		return "WebSocket message over the limit";

	case PROTO_HTTP_SYNTAX:
		return "malformed HTTP head";
	case PROTO_HTTP_TOO_BIG:
		return "HTTP head too long or with too many headers";
	case PROTO_HTTP_DUPLICATE:
		return "HTTP header repeated that may stand only once";
	case PROTO_HTTP_BODY:
		return "HTTP body where none may be, or of unclear length";
	case PROTO_HTTP_NOT_UPGRADE:
		return "HTTP request is not a WebSocket upgrade";

	case PROTO_MSG_UNKNOWN:
		return "unknown sync message";
	case PROTO_MSG_SYNTAX:
		return "malformed sync message head";
	case PROTO_MSG_HEAD_TOO_LONG:
		return "sync message head too long";
	case PROTO_MSG_LENGTH:
		return "sync message body of another length than its head says";
	case PROTO_MSG_ENTRY:
		return "malformed changeset entry";
	case PROTO_MSG_LIMIT:
		return "path, token or body over the limit";

	case PROTO_Z_CORRUPT:
		return "compressed body is corrupt";
	case PROTO_Z_SIZE:
		return "compressed body inflates to another size than declared";
	case PROTO_Z_NO_GAIN:
		return "compression brings no gain";
	case PROTO_Z_MEMORY:
		return "out of memory in zlib";

	case PROTO_CS_TRUNCATED:
		return "changeset ends inside an instruction";
	case PROTO_CS_INTEGER:
		return "changeset with an integer too long or out of range";
	case PROTO_CS_UNKNOWN:
		return "changeset with an unknown instruction or type";
	case PROTO_CS_STRING:
		return "changeset with a bad or repeated interned string";
	case PROTO_CS_PATH:
		return "changeset with a path that does not fit its instruction";
	case PROTO_CS_MEMORY:
		return "out of memory for a changeset";
	}
	return "unknown protocol error";
}
