/* What the disk does with the same bytes without a relay in front of it. */
#ifndef TESTS_BENCH_LOAD_DISK_H
#define TESTS_BENCH_LOAD_DISK_H

#include <stddef.h>
#include <stdint.h>

/* Changesets of `size` bytes a second, n of them, `batch` at a time, each batch synced, in a folder of its own below dir: appended to a plain file;
 * appended to a store as holdfast has it (buffer/store.h), in so many files, of each as many a batch and then its record.  Bytes are different
 * ones each time, as they are for a relay. */
double disk_plain(const char *dir, uint64_t n, size_t size, unsigned batch);
double disk_store(const char *dir, uint64_t n, size_t size, unsigned batch, unsigned files);

/* Puts n files with a changeset of `size` bytes each into the buffer of a holdfast that does not run, whose state_dir is dir/state. */
void disk_fill_store(const char *dir, unsigned n, size_t size);

#endif
