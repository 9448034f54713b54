/* See alloc.h. */
#include <stdlib.h>
#include <string.h>

#include "relay/alloc.h"
#include "relay/log.h"

void *
relay_alloc(size_t n)
{
	void *p = calloc(1, n != 0 ? n : 1);

	if (p == NULL)
		log_fatal("out_of_memory", "bytes=%zu", n);
	return p;
}

char *
relay_strndup(const void *text, size_t n)
{
	char *p = relay_alloc(n + 1);

	if (n > 0)
		memcpy(p, text, n);
	return p;
}

void
relay_wipe(char *secret)
{
	if (secret != NULL)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}
