/* See proxy.h.  Each kind is a row: how its configuration is written, and how it is run.  Logs stay in its folder. */
#include <arpa/inet.h>
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/bench/load/loop.h"
#include "tests/bench/load/proxy.h"

#define PATIENCE_MS 60000
#define STEP_MS 2
#define FILES_MAX 65536 /* descriptors that are asked for */
#define FILES_OTHER 200 /* of a process, for anything but connections */

static const char *const names[] = { "direct", "bare", "holdfast", "haproxy", "nginx", "slowdisk", "mosquitto" };

const char *
proxy_name(enum proxy_kind kind)
{
	return names[kind];
}

/* ---- programs ---- */

/* The build folder: this program is obj/tests/bench/load/load in it. */
void
proxy_build_path(char *out, size_t size, const char *below)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[n > 0 ? n : 0] = '\0';
	for (int i = 0; i < 5 && strrchr(self, '/') != NULL; i++)
		*strrchr(self, '/') = '\0';
	if ((size_t)snprintf(out, size, "%s/%s", self, below) >= size)
		errx(1, "the path of the build folder is too long");
}

static void
program(enum proxy_kind kind, char *out, size_t size)
{
	switch (kind) {
	case PROXY_BARE:
		proxy_build_path(out, size, "obj/tests/bench/bare/bare");
		break;
	case PROXY_HOLDFAST:
		proxy_build_path(out, size, "holdfast");
		break;
	case PROXY_SLOWDISK:
		proxy_build_path(out, size, "obj/tests/baddisk/baddisk");
		break;
	default:
		snprintf(out, size, "/usr/sbin/%s", names[kind]);
		break;
	}
}

bool
proxy_is_there(enum proxy_kind kind)
{
	char path[PATH_MAX];

	program(kind, path, sizeof(path));
	return kind == PROXY_DIRECT || access(path, X_OK) == 0;
}

/* ---- configurations ---- */

static FILE *
open_config(const struct proxy *p, const char *name)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", p->dir, name);
	if ((f = fopen(path, "we")) == NULL)
		err(1, "%s", path);
	return f;
}

static void
config_holdfast(const struct proxy *p, const struct proxy_setup *s)
{
	FILE *f = open_config(p, "holdfast.ini");

	fprintf(f, "[holdfast]\nuser = root\nstate_dir = %s/state\nlog_level = warn\n[listener]\naddress = 127.0.0.1:%u\n", p->dir, p->port);
	if (s->cert != NULL)
		fprintf(f, "tls_certificate = %s\ntls_key = %s\n", s->cert->cert, s->cert->key);
	fprintf(f, "ack = %s\n", s->ack_relay ? "relay" : "upstream");
	fprintf(f, "offline_admit = any\n[upstream]\nurl = ws://127.0.0.1:%u\nreconnect_rate = 10000\nbackoff_min = 100ms\n", s->upstream_port);
	if (s->ping_ms > 0)
		fprintf(f, "ping_interval = %ums\n", s->ping_ms);
	fprintf(f, "probe_interval = 100ms\n[limits]\nmax_per_address = 20000\nmax_queued = 1GiB\n[buffer]\nmax_bytes = 64GiB\n");
	fclose(f);
}

/* The same, and what baddisk is told. */
static void
config_slowdisk(const struct proxy *p, const struct proxy_setup *s)
{
	FILE *f = open_config(p, "disk");

	fputs("slow", f);
	fclose(f);
	config_holdfast(p, s);
}

/* HAProxy wants certificate and key in one file. */
static void
join_files(const struct proxy *p, const struct cert_files *cert)
{
	const char *const parts[] = { cert->cert, cert->key };
	FILE *out = open_config(p, "both.pem"), *in;
	int ch;

	for (int i = 0; i < 2; i++) {
		if ((in = fopen(parts[i], "re")) == NULL)
			err(1, "%s", parts[i]);
		while ((ch = fgetc(in)) != EOF)
			fputc(ch, out);
		fclose(in);
	}
	fclose(out);
}

static void
config_haproxy(const struct proxy *p, const struct proxy_setup *s)
{
	FILE *f = open_config(p, "haproxy.cfg");
	unsigned maxconn = proxy_most_conns() + FILES_OTHER / 4;

	fprintf(f, "global\n  nbthread 1\n  maxconn %u\n  tune.ssl.default-dh-param 2048\n  ssl-default-bind-options ssl-min-ver TLSv1.3\n"
		   "defaults\n  mode http\n  maxconn %u\n  timeout connect 10s\n  timeout client 1h\n  timeout server 1h\n  timeout tunnel 1h\n"
		   "frontend f\n  bind 127.0.0.1:%u backlog 4096",
		maxconn, maxconn, p->port);
	if (s->cert != NULL) {
		join_files(p, s->cert);
		fprintf(f, " ssl crt %s/both.pem", p->dir);
	}
	fprintf(f, "\n  default_backend b\nbackend b\n  server s 127.0.0.1:%u\n", s->upstream_port);
	fclose(f);
}

static void
config_nginx(const struct proxy *p, const struct proxy_setup *s)
{
	FILE *f = open_config(p, "nginx.conf");

	fprintf(f, "daemon off;\nmaster_process off;\nworker_processes 1;\npid %s/pid;\nerror_log %s/error.log warn;\n", p->dir, p->dir);
	/* More connections than the descriptors will do for: with a sixteenth left nginx drops clients that have not asked yet. */
	fprintf(f, "events { worker_connections %u; }\nhttp {\n  access_log off;\n", proxy_most_conns() * 20 / 9);
	for (int i = 0; i < 5; i++)
		fprintf(f, "  %s_temp_path %s/temp%d;\n", (const char *const[]){ "client_body", "proxy", "fastcgi", "uwsgi", "scgi" }[i], p->dir, i);
	fprintf(f, "  server {\n    listen 127.0.0.1:%u backlog=4096%s;\n", p->port, s->cert != NULL ? " ssl" : "");
	if (s->cert != NULL)
		fprintf(f, "    ssl_certificate %s;\n    ssl_certificate_key %s;\n    ssl_protocols TLSv1.3;\n", s->cert->cert, s->cert->key);
	fprintf(f, "    location / {\n      proxy_pass http://127.0.0.1:%u;\n      proxy_http_version 1.1;\n", s->upstream_port);
	fprintf(f, "      proxy_set_header Upgrade $http_upgrade;\n      proxy_set_header Connection upgrade;\n      proxy_buffer_size 64k;\n"
		   "      proxy_buffers 8 64k;\n      proxy_read_timeout 1h;\n      proxy_send_timeout 1h;\n    }\n  }\n}\n");
	fclose(f);
}

static void
config_mosquitto(const struct proxy *p, const struct proxy_setup *s)
{
	FILE *f = open_config(p, "mosquitto.conf");

	fprintf(f, "user root\nlistener %u 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\npersistence true\npersistence_location %s/\n", p->port,
		p->dir);
	fprintf(f, "connection bench\naddress 127.0.0.1:%u\ntopic # out 1\ncleansession false\nrestart_timeout 1\n", s->upstream_port);
	if (s->durable)
		fprintf(f, "autosave_on_changes true\nautosave_interval 1\n");
	fclose(f);
}

/* ---- descriptors ---- */

void
proxy_allow_files(void)
{
	struct rlimit files, more = { FILES_MAX, FILES_MAX };

	if (setrlimit(RLIMIT_NOFILE, &more) == 0 || getrlimit(RLIMIT_NOFILE, &files) != 0)
		return;
	files.rlim_cur = files.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &files);
}

unsigned
proxy_most_conns(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) != 0)
		err(1, "descriptors");
	return files.rlim_cur > 2 * FILES_OTHER ? ((unsigned)files.rlim_cur - FILES_OTHER) / 2 : FILES_OTHER / 2;
}

/* ---- running ---- */

static void
run(const struct proxy *p, const struct proxy_setup *s)
{
	char path[PATH_MAX], config[512], listen_port[16], upstream_port[16];

	program(p->kind, path, sizeof(path));
	snprintf(listen_port, sizeof(listen_port), "%u", p->port);
	snprintf(upstream_port, sizeof(upstream_port), "%u", s->upstream_port);
	switch (p->kind) {
	case PROXY_BARE:
		execl(path, "bare", listen_port, upstream_port, s->cert != NULL ? s->cert->cert : NULL, s->cert != NULL ? s->cert->key : NULL,
		      (char *)NULL);
		break;
	case PROXY_SLOWDISK:
		snprintf(config, sizeof(config), "%s/disk", p->dir);
		setenv("BADDISK", config, 1);
		/* fall through */
	case PROXY_HOLDFAST:
		snprintf(config, sizeof(config), "%s/holdfast.ini", p->dir);
		execl(path, "holdfast", "-c", config, (char *)NULL);
		break;
	case PROXY_HAPROXY:
		snprintf(config, sizeof(config), "%s/haproxy.cfg", p->dir);
		execl(path, "haproxy", "-db", "-f", config, (char *)NULL);
		break;
	case PROXY_NGINX:
		snprintf(config, sizeof(config), "%s/nginx.conf", p->dir);
		execl(path, "nginx", "-p", p->dir, "-c", config, (char *)NULL);
		break;
	case PROXY_MOSQUITTO:
		snprintf(config, sizeof(config), "%s/mosquitto.conf", p->dir);
		execl(path, "mosquitto", "-c", config, (char *)NULL);
		break;
	default:
		break;
	}
}

struct sockaddr_in
proxy_loopback(unsigned port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

int
proxy_reserve_port(unsigned *port)
{
	struct sockaddr_in at = proxy_loopback(0);
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0 || getsockname(fd, (struct sockaddr *)&at, &len) != 0)
		err(1, "no port");
	*port = ntohs(at.sin_port);
	return fd;
}

/* HAProxy and nginx must be told a port: one that was free just now. */
static unsigned
free_port(void)
{
	unsigned port;

	close(proxy_reserve_port(&port));
	return port;
}

static bool
listens(unsigned port)
{
	struct sockaddr_in at = proxy_loopback(port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool yes = connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0;

	close(fd);
	return yes;
}

static void
breathe(void)
{
	struct timespec ts = { 0, STEP_MS * 1000000L };

	nanosleep(&ts, NULL);
}

void
proxy_pin(int cpu)
{
	int n = (int)sysconf(_SC_NPROCESSORS_ONLN);
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu < 0 ? n - 1 : cpu, &set);
	if (n > 1)
		(void)sched_setaffinity(0, sizeof(set), &set);
}

void
proxy_spread(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	for (int i = 0; i < CPU_SETSIZE; i++)
		CPU_SET(i, &set);
	(void)sched_setaffinity(0, sizeof(set), &set);
}

static void
launch(struct proxy *p, const struct proxy_setup *setup)
{
	char log[512];
	int fd;

	snprintf(log, sizeof(log), "%s/log", p->dir);
	fflush(NULL);
	p->pid = fork();
	if (p->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (setup->spread)
			proxy_spread();
		else
			proxy_pin(0); /* with all threads it will have */
		fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
		if (fd >= 0 && dup2(fd, STDOUT_FILENO) >= 0 && dup2(fd, STDERR_FILENO) >= 0)
			run(p, setup);
		_exit(127);
	}
	if (p->pid < 0)
		err(1, "fork");
	for (int waited = 0; !listens(p->port); waited += STEP_MS) {
		if (waited > PATIENCE_MS || waitpid(p->pid, NULL, WNOHANG) != 0)
			errx(1, "%s does not start; see %s", names[p->kind], log);
		breathe();
	}
}

void
proxy_start(struct proxy *p, enum proxy_kind kind, const struct proxy_setup *setup)
{
	static void (*const config[])(const struct proxy *p, const struct proxy_setup *s) = { [PROXY_HOLDFAST] = config_holdfast,
		[PROXY_HAPROXY] = config_haproxy,
		[PROXY_NGINX] = config_nginx,
		[PROXY_SLOWDISK] = config_slowdisk,
		[PROXY_MOSQUITTO] = config_mosquitto };

	static unsigned started; /* each has a folder of its own: a new server must not be taken for one that forgot */

	memset(p, 0, sizeof(*p));
	p->kind = kind;
	p->port = setup->upstream_port;
	if (kind == PROXY_DIRECT)
		return;
	snprintf(p->dir, sizeof(p->dir), "%s/%s%u", setup->dir, names[kind], ++started);
	if (mkdir(p->dir, 0700) != 0)
		err(1, "%s", p->dir);
	p->port = free_port();
	if (config[kind] != NULL)
		config[kind](p, setup);
	launch(p, setup);
}

void
proxy_stop(struct proxy *p)
{
	if (p->pid > 0) {
		kill(p->pid, SIGKILL);
		(void)waitpid(p->pid, NULL, 0);
	}
	p->pid = 0;
}

double
proxy_start_ms(struct proxy *p, const struct proxy_setup *setup)
{
	uint64_t start = loop_now_ns();

	launch(p, setup);
	return (double)(loop_now_ns() - start) / 1e6;
}

void
proxy_kill_and_start(struct proxy *p, const struct proxy_setup *setup)
{
	proxy_stop(p);
	launch(p, setup);
}

bool
proxy_logged(const struct proxy *p, const char *text)
{
	char path[512], line[2048];
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "%s/log", p->dir);
	f = fopen(path, "re");
	while (f != NULL && !found && fgets(line, sizeof(line), f) != NULL)
		found = strstr(line, text) != NULL;
	if (f != NULL)
		fclose(f);
	return found;
}

uint64_t
proxy_cpu_ns(const struct proxy *p)
{
	char path[300];
	struct dirent *e;
	uint64_t sum = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)p->pid);
	d = p->pid > 0 ? opendir(path) : NULL;
	while (d != NULL && (e = readdir(d)) != NULL) {
		unsigned long long ns;
		FILE *f;

		if (e->d_name[0] == '.') /* ../schedstat is the first thread's once more */
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%.16s/schedstat", (int)p->pid, e->d_name);
		if ((f = fopen(path, "re")) == NULL)
			continue;
		if (fscanf(f, "%llu", &ns) == 1)
			sum += ns;
		fclose(f);
	}
	if (d != NULL)
		closedir(d);
	return sum;
}

uint64_t
proxy_resident(const struct proxy *p)
{
	char path[64], line[256];
	unsigned long kib = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)p->pid);
	f = p->pid > 0 ? fopen(path, "re") : NULL;
	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		(void)sscanf(line, "RssAnon: %lu", &kib);
	if (f != NULL)
		fclose(f);
	return kib * 1024;
}
