/* See net.h.  A pacing congestion control (bbr) sends when its timers say so, on loopback too, and what would be measured is the timers: with
 * cubic a message leaves when it is written.  So a figure is no longer one of the machine's defaults. */
#include <err.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <sys/ioctl.h>
#include <sys/socket.h>

#include "tests/bench/load/net.h"

#define IPV4 "/proc/sys/net/ipv4/"
#define CONTROL IPV4 "tcp_congestion_control"
#define WANTED "cubic"

static bool
set(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, value, strlen(value)) == (ssize_t)strlen(value);

	if (fd >= 0)
		(void)close(fd);
	return done;
}

static bool
loopback_up(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool up = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &lo) == 0;

	if (fd >= 0)
		(void)close(fd);
	return up;
}

static void
say_control(const char *why)
{
	char name[32] = "unknown";
	FILE *f = fopen(CONTROL, "re");

	if (f != NULL) {
		if (fscanf(f, "%31s", name) != 1)
			strcpy(name, "unreadable");
		(void)fclose(f);
	}
	printf("%s: congestion control on loopback is %s\n", why, name);
}

void
net_enter(void)
{
	if (unshare(CLONE_NEWNET) != 0) {
		say_control("no network namespace of our own (not root?)");
		return;
	}
	if (!loopback_up())
		err(1, "loopback in a new network namespace");
	if (!set(IPV4 "ip_local_port_range", "10240 65535") || !set(CONTROL, WANTED))
		say_control("the network namespace could not be set up as wanted");
}
