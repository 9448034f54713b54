/* The allocator's memory: how much it keeps, and when it gives it back. */
#ifndef RELAY_MEMORY_H
#define RELAY_MEMORY_H

#include <stdint.h>

/* Once, before there are threads: what is freed is kept, up to some MB. */
void memory_setup(void);

/* Each second: gives back to the kernel what nobody needs, when it is quiet. */
void memory_sample(void);

/* Bytes that are allocated and not freed, in all threads, libraries' too; 0: this C library does not tell. */
uint64_t memory_used(void);

#endif
