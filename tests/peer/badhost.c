/* See badhost.h. */
#include <fcntl.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/badhost/orders.h"
#include "tests/peer/badhost.h"

struct orders *
badhost_orders(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	void *map = MAP_FAILED;

	if (fd >= 0 && ftruncate(fd, sizeof(struct orders)) == 0)
		map = mmap(NULL, sizeof(struct orders), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd >= 0)
		(void)close(fd);
	return map != MAP_FAILED ? map : NULL;
}

void
badhost_forget(struct orders *o)
{
	munmap(o, sizeof(*o));
}
