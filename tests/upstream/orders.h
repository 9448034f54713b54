/* The misbehaviour that was ordered: switches, tokens, and refusals of coming messages. */
#ifndef TESTS_UPSTREAM_ORDERS_H
#define TESTS_UPSTREAM_ORDERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/http.h"
#include "protocol/message.h"

struct refusal {
	unsigned code;
	enum msg_type when; /* MSG_C_BIND, MSG_C_IDENT or MSG_C_UPLOAD */
	char path[256];	    /* empty: any */
	uint64_t left;	    /* how often still; UINT64_MAX = always */
	bool json;
	char action[40];
	struct refusal *next;
};

struct token_rule {
	char *token; /* "*": every other one */
	bool allow;
	struct token_rule *next;
};

#define ORDERS_NO_CUT SIZE_MAX

struct orders {
	bool silent, stall, frozen, hold_marks, hold_acks, no_unbound, cut_after_upload, events;
	size_t cut_download, cut_upload; /* bytes, or ORDERS_NO_CUT */
	unsigned query_errors;	   /* so many QUERYs are answered by QUERY_ERROR */
	unsigned bootstrap;	/* DOWNLOADs in each bootstrap */
	unsigned stop_bootstrap; /* the next one stops after so many; 0: it does not */
	size_t stop_state; /* after so many STATEs, or ORDERS_NO_CUT */
	unsigned transact_status; /* the answer to TRANSACT */
	unsigned delay_ms;
	unsigned http_status; /* 0: upgrades are answered as they should */
	char http_header[512];
	size_t http_body; /* bytes of its body */
	char raw[2048];	  /* answer upgrades with these bytes */
	size_t raw_len;	  /* 0: as they should be */
	struct refusal *refusals;
	struct token_rule *tokens;
};

void orders_init(struct orders *o);
void orders_clear(struct orders *o);

/* Appends a copy of r. */
void orders_refuse(struct orders *o, const struct refusal *r);
void orders_no_refusals(struct orders *o);

/* Is a message of this type for this path to be refused?  Counts it.  *r lives until the next call of orders_. */
const struct refusal *orders_refusal(struct orders *o, enum msg_type when, const char *path);

/* Sets the rule for a token, replacing an older one. */
void orders_token(struct orders *o, const char *token, bool allow);
bool orders_token_allowed(const struct orders *o, struct view token);

#endif
