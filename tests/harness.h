/* The test harness: what a unit test includes.
 *
 *	TEST(name) { CHECK_U64(sum(1, 2), 3); }
 *
 * A TEST registers itself; main is in harness.c. A check that fails prints "file:line: got X, want Y", marks the running test as
 * failed and returns from the function it stands in, so it stands in functions that return void only. When such a helper has
 * failed, its caller goes on: ask harness_failed() where that matters. Arguments are evaluated once.
 *
 * Environment: TEST_FILTER runs only the tests whose name contains it; HOLDFAST_SHARED, HOLDFAST_SRCDIR see below. */
#ifndef TESTS_HARNESS_H
#define TESTS_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct harness_test {
	const char *name;
	void (*run)(void);
	struct harness_test *next;
};

#define TEST(id) \
	static void test_##id(void); \
	static struct harness_test harness_##id = { #id, test_##id, NULL }; \
	__attribute__((constructor)) static void \
	harness_add_##id(void) \
	{ \
		harness_add(&harness_##id); \
	} \
	static void \
	test_##id(void)

#define CHECK(cond) \
	do { \
		if (!(cond)) { \
			harness_fail(__FILE__, __LINE__, "got false, want %s", #cond); \
			return; \
		} \
	} while (0)

#define CHECK_U64(got, want) \
	do { \
		if (!harness_u64(__FILE__, __LINE__, #got, (uint64_t)(got), (uint64_t)(want))) \
			return; \
	} while (0)

#define CHECK_STR(got, want) \
	do { \
		if (!harness_str(__FILE__, __LINE__, #got, (got), (want))) \
			return; \
	} while (0)

#define CHECK_MEM(got, got_len, want, want_len) \
	do { \
		if (!harness_mem(__FILE__, __LINE__, #got, (got), (size_t)(got_len), (want), (size_t)(want_len))) \
			return; \
	} while (0)

#define SKIP(why) \
	do { \
		harness_skip(why); \
		return; \
	} while (0)

/* Built with AddressSanitizer, which keeps what is freed, and more: what a test says of memory then says nothing of the program. */
#ifndef __has_feature /* clang's question, gcc's answer is a macro */
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define HARNESS_TSAN true /* which has a thread of its own in every process */
#else
#define HARNESS_TSAN false
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define HARNESS_SANITIZED true
#else
#define HARNESS_SANITIZED HARNESS_TSAN
#endif

/* A fresh private directory (0700), another one at each call; removed with all it holds when the test program exits. The string
 * lives until then. Children made by fork() do not remove it. */
const char *harness_tmpdir(void);

/* The path of the material that lies beside the repository (traces), or NULL if there is none: then SKIP. It is HOLDFAST_SHARED,
 * else "../shared" seen from the source directory. */
const char *harness_shared(void);

/* The source directory: HOLDFAST_SRCDIR, else the one the harness was compiled from. */
const char *harness_srcdir(void);

/* Has a check failed in the running test? */
bool harness_failed(void);

/* Behind the macros. */
void harness_add(struct harness_test *t);
void harness_skip(const char *why);
void harness_fail(const char *file, int line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
bool harness_u64(const char *file, int line, const char *what, uint64_t got, uint64_t want);
bool harness_str(const char *file, int line, const char *what, const char *got, const char *want);
bool harness_mem(const char *file, int line, const char *what, const void *got, size_t got_len, const void *want, size_t want_len);

#endif
