/* Sync messages (protocol.md sections 2-4): parse a head to values, format it back, walk the entries of UPLOAD and DOWNLOAD.
 * One table (message.def) drives names, fields, parsing and formatting; a new message is one row and one struct.
 *
 * The head is parsed alone, so a DOWNLOAD can be forwarded while its body still arrives. */
#ifndef PROTOCOL_MESSAGE_H
#define PROTOCOL_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/err.h"
#include "protocol/view.h"

#define MSG_HEAD_MAX 512	  /* bytes of a head with its LF: the longest DOWNLOAD (FLX) has 15 numbers of up to 20 digits */
#define MSG_HEAD_MAX_C2S 256	  /* bytes: what a server accepts (protocol.md section 2) */
#define MSG_PATH_MAX 1024	  /* bytes */
#define MSG_TOKEN_MAX 2048	  /* bytes */
#define MSG_TELLS_BY 8		  /* bytes of a message by which one sees whether it says a token: "refresh " */
#define MSG_NUMBER_MAX INT64_MAX  /* every field is 0 <= x < 2^63 */

enum msg_dir { MSG_C2S, MSG_S2C };

enum msg_flavour {
	MSG_PBS, /* com.mongodb.realm-sync */
	MSG_FLX, /* com.mongodb.realm-query-sync */
};

/* C_ from the client, S_ from the server; one value per row of protocol.md sections 3 and 4. */
enum msg_type {
	MSG_C_BIND, MSG_C_IDENT, MSG_C_UPLOAD, MSG_C_TRANSACT, MSG_C_UNBIND, MSG_C_MARK, MSG_C_REFRESH, MSG_C_STATE_REQUEST,
	MSG_C_CLIENT_VERSION_REQUEST, MSG_C_ALLOC, MSG_C_PING, MSG_C_QUERY, MSG_C_JSON_ERROR, MSG_C_TEST_COMMAND,
	MSG_S_IDENT, MSG_S_DOWNLOAD, MSG_S_UNBOUND, MSG_S_TRANSACT, MSG_S_MARK, MSG_S_STATE, MSG_S_CLIENT_VERSION, MSG_S_ALLOC,
	MSG_S_ERROR, MSG_S_JSON_ERROR, MSG_S_QUERY_ERROR, MSG_S_LOG_MESSAGE, MSG_S_PONG, MSG_S_TEST_COMMAND,
	MSG_NTYPES
};

struct msg_bind { uint64_t path_size, token_size, need_client_file_ident, is_subserver; };
struct msg_c_ident {
	uint64_t file_ident, file_ident_salt, scan_server_version, scan_client_version, latest_server_version,
		latest_server_version_salt;
	uint64_t query_version, query_size; /* FLX only */
};
struct msg_upload {
	uint64_t is_compressed, uncompressed_size, compressed_size, progress_client_version, progress_server_version,
		locked_server_version;
};
struct msg_c_transact { uint64_t client_version, server_version, size; };
struct msg_c_mark { uint64_t request_ident; };
struct msg_refresh { uint64_t token_size; };
struct msg_state_request {
	uint64_t partial_version, partial_salt, offset, need_recent, min_file_format, max_file_format, min_history_schema,
		max_history_schema;
};
struct msg_client_version_request { uint64_t file_ident, file_ident_salt; };
struct msg_ping { uint64_t timestamp, rtt; };
struct msg_query { uint64_t query_version, query_size; };
struct msg_json_error { uint64_t error_code, size; };
struct msg_test_command { uint64_t request_ident, size; };

struct msg_s_ident { uint64_t file_ident, file_ident_salt; };
struct msg_download {
	uint64_t download_server_version, download_client_version, latest_server_version, latest_server_version_salt,
		upload_client_version, upload_server_version;
	uint64_t downloadable_bytes;		     /* PBS only */
	uint64_t query_version, batch_state;	     /* FLX only */
	struct view progress_estimate;		     /* FLX only: a decimal fraction, kept as text; points into the parsed head */
	uint64_t is_compressed, uncompressed_size, compressed_size;
};
struct msg_s_transact {
	uint64_t status, server_version, server_version_salt, origin_timestamp, origin_file_ident, substitutions_size;
};
struct msg_state { uint64_t server_version, server_version_salt, begin_offset, end_offset, max_offset, size; };
struct msg_client_version { uint64_t client_version; };
struct msg_s_alloc { uint64_t file_ident; };
struct msg_error { uint64_t error_code, size, try_again; };
struct msg_query_error { uint64_t error_code, size, query_version; };
struct msg_log_message { uint64_t size; };
struct msg_pong { uint64_t timestamp; };

struct message {
	enum msg_type type;
	enum msg_flavour flavour; /* decides the form of IDENT (client) and DOWNLOAD */
	uint64_t session_ident;	  /* 0: the message has none, or names the connection */
	size_t head_len;	  /* bytes of the head with its LF (set by parse) */
	const uint8_t *head;	  /* NULL (parse leaves it so), or those bytes, for msg_format_head; borrowed */
	uint64_t body_len;	  /* bytes that must follow the head (set by parse) */
	union {
		struct msg_bind bind;
		struct msg_c_ident c_ident;
		struct msg_upload upload;
		struct msg_c_transact c_transact;
		struct msg_c_mark c_mark; /* also the server's MARK: same fields */
		struct msg_refresh refresh;
		struct msg_state_request state_request;
		struct msg_client_version_request client_version_request;
		struct msg_ping ping;
		struct msg_query query;
		struct msg_json_error json_error; /* both directions */
		struct msg_test_command test_command; /* both directions */
		struct msg_s_ident s_ident;
		struct msg_download download;
		struct msg_s_transact s_transact;
		struct msg_c_mark s_mark;
		struct msg_state state;
		struct msg_client_version client_version;
		struct msg_s_alloc s_alloc;
		struct msg_error error;
		struct msg_query_error query_error;
		struct msg_log_message log_message;
		struct msg_pong pong;
	};
};

/* Parses the head at buf[0..len); what follows the LF is not looked at.
 * PROTO_MORE: no LF yet and len below the limit of the direction.  PROTO_MSG_*: as in err.h; what is wrong already is refused
 * without waiting for the LF.
 * Strict: decimal digits only, no leading zeros beyond a single 0, single spaces, exact field count, < 2^63, flags 0 or 1;
 * compressed_size 0 when is_compressed is 0; session idents non-zero where the row demands it; path and token limits.
 * Views in *m point into buf. */
MUSTCHECK enum proto_err msg_parse_head(enum msg_dir dir, enum msg_flavour flavour, const uint8_t *buf, size_t len, struct message *m);

/* The same for a whole message buf[0..len): also checks that exactly body_len bytes follow the head and sets *body to them.
 * Never PROTO_MORE: a whole message without an LF is PROTO_MSG_SYNTAX. */
MUSTCHECK enum proto_err msg_parse(enum msg_dir dir, enum msg_flavour flavour, const uint8_t *buf, size_t len, struct message *m,
				   struct view *body);

/* Writes the head of m with its LF to out (MSG_HEAD_MAX bytes of room); body_len of m is not used.
 * Who passes on what was parsed, with no field changed but session_ident, may set m->head to where it was parsed from: then it is copied.
 * An empty progress_estimate is written as 0.  A type that only the other flavour has is written in that one.
 * Returns bytes written; never fails for a message that parse accepted or whose fields are < 2^63. */
size_t msg_format_head(const struct message *m, char *out);

/* Returns the wire name ("download"), static. */
const char *msg_name(enum msg_type type);

/* Whether such a message says a user's token (I9). */
bool msg_has_token(enum msg_type type);
/* Whether a client's message that begins with these bytes is one; false too while it has fewer than MSG_TELLS_BY. */
bool msg_tells_token(const uint8_t *buf, size_t len);

/* Bytes that follow the head of m according to its fields (what parse sets as body_len). */
uint64_t msg_body_len(const struct message *m);

struct upload_entry { /* a changeset inside an UPLOAD */
	uint64_t client_version, server_version, origin_timestamp, origin_file_ident;
	struct view changeset; /* points into the body walked */
};

struct download_entry { /* a changeset inside a DOWNLOAD */
	uint64_t server_version, client_version, origin_timestamp, origin_file_ident, original_size;
	struct view changeset;
};

/* Takes the next entry off *rest (which starts as the whole inflated body).  PROTO_OK and rest advanced;
 * PROTO_MORE at the clean end (rest->len was 0); PROTO_MSG_ENTRY when malformed. */
MUSTCHECK enum proto_err upload_entry_next(struct view *rest, struct upload_entry *e);
MUSTCHECK enum proto_err download_entry_next(struct view *rest, struct download_entry *e);

#define MSG_ENTRY_HEAD_MAX 128 /* bytes: six numbers and their spaces */

/* Writes an entry's head (its changeset follows); returns bytes written to out (MSG_ENTRY_HEAD_MAX of room). */
size_t upload_entry_format(const struct upload_entry *e, char *out);
size_t download_entry_format(const struct download_entry *e, char *out);

/* Subprotocol names: "com.mongodb.realm-sync#14", "/N" below 8, ranges "#A-B" (PROTOCOL, section 1).  Both spellings of any
 * version are read (clients offer "#7"); versions below 8 are written "/N", as servers do.
 * PROTO_MSG_UNKNOWN: another protocol; PROTO_MSG_SYNTAX: a bad version or range. */
struct msg_subprotocol {
	enum msg_flavour flavour;
	unsigned min, max; /* versions; equal unless a range */
};
MUSTCHECK enum proto_err msg_parse_subprotocol(struct view text, struct msg_subprotocol *sp);
#define MSG_SUBPROTOCOL_MAX 48 /* bytes with NUL */
size_t msg_format_subprotocol(enum msg_flavour flavour, unsigned version, char *out);

#endif
