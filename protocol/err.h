/* The one error convention of protocol/: every function that can fail returns
 * enum proto_err; 0 is success.  Codes come in ranges by kind, so a caller can
 * tell "give me more bytes" from "wrong" and wrong framing from wrong content.
 * Nothing in protocol/ logs, allocates without being told to, or keeps state
 * outside the structs the caller passes. */
#ifndef PROTOCOL_ERR_H
#define PROTOCOL_ERR_H

#define MUSTCHECK __attribute__((warn_unused_result))

enum proto_err {
	PROTO_OK = 0,
	PROTO_MORE = 1, /* not an error: the input ends before the item does */

	/* 100-199: WebSocket framing (RFC 6455) */
	PROTO_WS_RESERVED = 100, /* reserved bit or opcode set (5.2) */
	PROTO_WS_MASK,		 /* masked where it must not be, or the reverse (5.1) */
	PROTO_WS_LENGTH,	 /* top bit of a 64-bit length, or not the shortest form (5.2) */
	PROTO_WS_CONTROL,	 /* control frame too long or fragmented (5.5) */
	PROTO_WS_ORDER,		 /* continuation without start, or start within a message (5.4) */
	PROTO_WS_CLOSE,		 /* close payload of 1 byte, bad code, bad UTF-8 (5.5.1, 7.4) */
	PROTO_WS_TOO_BIG,	 /* message longer than the limit given */

	/* 200-299: HTTP upgrade (RFC 9110/9112, RFC 6455 section 4) */
	PROTO_HTTP_SYNTAX = 200, /* not HTTP/1.1, bad token, obs-fold, bare CR/LF, NUL ... */
	PROTO_HTTP_TOO_BIG,	 /* head over HTTP_HEAD_MAX or too many headers */
	PROTO_HTTP_DUPLICATE,	 /* a header that may stand once stands twice */
	PROTO_HTTP_BODY,	 /* body or Transfer-Encoding where none may be */
	PROTO_HTTP_NOT_UPGRADE,	 /* well-formed, but not a WebSocket upgrade */

	/* 300-399: sync messages (protocol.md sections 2-4) */
	PROTO_MSG_UNKNOWN = 300, /* name not in the table for this direction and flavour */
	PROTO_MSG_SYNTAX,	 /* field missing, extra, not a number, out of range */
	PROTO_MSG_HEAD_TOO_LONG, /* no LF within MSG_HEAD_MAX bytes */
	PROTO_MSG_LENGTH,	 /* body shorter or longer than the head says */
	PROTO_MSG_ENTRY,	 /* an UPLOAD or DOWNLOAD entry is malformed */
	PROTO_MSG_LIMIT,	 /* path, token or body over the protocol's own limit */

	/* 400-499: compressed bodies */
	PROTO_Z_CORRUPT = 400, /* not a zlib stream, or bytes after its end */
	PROTO_Z_SIZE,	       /* inflates to another size than declared */
	PROTO_Z_NO_GAIN,       /* deflate would not make it smaller: send it plain */
	PROTO_Z_MEMORY,	       /* zlib could not allocate */

	/* 500-599: changesets (protocol.md section 7) */
	PROTO_CS_TRUNCATED = 500, /* ends inside an instruction */
	PROTO_CS_INTEGER,	  /* not in its shortest form, over 64 bits, or out of the range of its field */
	PROTO_CS_UNKNOWN,	  /* an instruction, type or enumeration that does not exist, or not in this place */
	PROTO_CS_STRING,	  /* an index that is not in the table of strings, or not the next one; a string that stands twice */
	PROTO_CS_PATH,		  /* no array index where one is due, or an element that is neither index nor string */
	PROTO_CS_MEMORY,	  /* no memory for the tables */
};

/* Returns a static English phrase for err; never NULL. */
const char *proto_strerror(enum proto_err err);

#endif
