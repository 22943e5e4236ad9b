// SPDX-License-Identifier: Apache-2.0
/*
 * What users of other tracers met and saw wrong. The program waits for a line, does what its argument names, and prints
 * what happened, a line each with fields between tabs, as the truth to compare with. The last line is "done".
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void pause_ms(int ms) { usleep(ms * 1000); }

/* Calls of the 32-bit table, which a 64-bit program can make too. */
#ifdef __x86_64__
static int call32(long nr, long a, long b, long c)
{
	long ret;

	__asm__ volatile("int $0x80" : "=a"(ret) : "a"(nr), "b"(a), "c"(b), "d"(c), "S"(0L), "D"(0L) : "r8", "r9", "r10", "r11", "memory");
	return (int)ret;
}

static void compat(void)
{
	char *low = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	uint32_t *argv = (uint32_t *)(low + 512), *args = (uint32_t *)(low + 640);
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(at);
	int listener, fd;

	strcpy(low, "/etc/hostname");
	strcpy(low + 64, "/proc/self/exe");
	strcpy(low + 128, "/no/such/file");
	strcpy(low + 192, "an argument");
	argv[0] = (uint32_t)(uintptr_t)low + 128;
	argv[1] = (uint32_t)(uintptr_t)low + 192;
	for (int i = 0; i < 10; i++) {
		fd = call32(5, (long)low, 0, 0);                /* open; the 64-bit call 5 is fstat */
		call32(6, fd, 0, 0);                            /* close; lstat */
		call32(85, (long)low + 64, (long)low + 256, 200); /* readlink; creat */
		call32(20, 0, 0, 0);                            /* getpid; writev */
		call32(295, AT_FDCWD, (long)low + 128, 0);      /* openat; preadv */
		call32(59, 0, 0, 0);                            /* oldolduname; execve */
	}
	call32(11, (long)low + 128, (long)argv, 0);             /* execve; munmap */
	listener = socket(AF_INET, SOCK_STREAM, 0);
	bind(listener, (struct sockaddr *)&at, sizeof(at));
	listen(listener, 5);
	getsockname(listener, (struct sockaddr *)&at, &size);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	connect(fd, (struct sockaddr *)&at, sizeof(at));
	args[0] = listener;
	call32(102, 5, (long)args, 0);                          /* socketcall: accept; getuid */
	printf("port\t%d\n", ntohs(at.sin_port));
}
#endif

/* Ends of processes. */
static void *thread_ends(void *code) { pause_ms(300); syscall(SYS_exit, (int)(intptr_t)code); return NULL; }
static void *thread_ends_all(void *code) { pause_ms(300); syscall(SYS_exit_group, (int)(intptr_t)code); return NULL; }
static void *thread_kills(void *signal) { pause_ms(300); kill(getpid(), (int)(intptr_t)signal); return NULL; }

static void later(void *(*what)(void *), int value)
{
	pthread_t thread;

	pthread_create(&thread, NULL, what, (void *)(intptr_t)value);
}

static void ends_well(int signal) { (void)signal; _exit(0); }

static void end(int how)
{
	switch (how) {
	case 0: /* the leader ends with 3, the last thread with 7 */
		later(thread_ends, 7);
		syscall(SYS_exit, 3);
	case 1: /* the leader ends with 3, a thread ends all with 8 */
		later(thread_ends_all, 8);
		syscall(SYS_exit, 3);
	case 2: /* a thread ends all with 9 while the leader sleeps */
		later(thread_ends_all, 9);
		sleep(5);
	case 3: /* the leader ends with 3, then comes a signal */
		later(thread_kills, SIGKILL);
		syscall(SYS_exit, 3);
	case 4: /* a code that does not fit */
		syscall(SYS_exit_group, 261);
	case 5: /* a signal that is handled */
		signal(SIGTERM, ends_well);
		kill(getpid(), SIGTERM);
		sleep(5);
	case 6:
		abort();
	}
	_exit(99);
}

static void exits(void)
{
	for (int how = 0; how < 7; how++) {
		double begin = now();
		pid_t pid = fork();
		int status;

		if (!pid)
			end(how);
		waitpid(pid, &status, 0);
		printf("%d\t%d\t%d\t%.3f\n", pid, WIFEXITED(status) ? WEXITSTATUS(status) : -1, WIFSIGNALED(status) ? WTERMSIG(status) : 0, now() - begin);
	}
}

/* A thread starts a program, and gets the number of its process. Before, a call has ints in the lower halves of its
 * registers, as compilers put them there. */
static void *starts_program(void *unused) { (void)unused; execl("/bin/true", "true", (char *)NULL); return NULL; }

static void thread_starts(void)
{
	pid_t pid = fork();
	pthread_t thread;

	if (!pid) {
		syscall(SYS_epoll_pwait, 0xffffffffUL, NULL, 1, 0xffffffffUL, NULL, 8);
		pthread_create(&thread, NULL, starts_program, NULL);
		sleep(5);
	}
	waitpid(pid, NULL, 0);
	printf("%d\n", pid);
}

/* Paths that mean something only from somewhere. */
static void opened(const char *given, const char *meant, int fd)
{
	printf("%s\t%s\t%d\n", given, meant, fd < 0 ? errno : 0);
}

static void make(const char *path) { close(open(path, O_CREAT | O_WRONLY, 0644)); }

static void paths(void)
{
	char top[] = "/tmp/paths-XXXXXX", path[8][128];
	struct open_how how = { .resolve = RESOLVE_IN_ROOT };
	int a, b, root;

	mkdtemp(top);
	for (int i = 0; i < 8; i++)
		sprintf(path[i], "%s/%s", top, (const char *[]){ "a", "b", "c", "a/one", "a/missing", "a/etc", "a/etc/hostname", "c/three" }[i]);
	mkdir(path[0], 0755);
	mkdir(path[1], 0755);
	mkdir(path[5], 0755);
	make(path[3]);
	make(path[6]);
	a = open(path[0], O_DIRECTORY);
	printf("begin\n");
	opened("one", path[3], openat(a, "one", O_RDONLY));
	chdir(path[1]);
	rename(path[1], path[2]); /* the working directory has another name now */
	opened("three", path[7], open("three", O_RDONLY));
	opened("missing", path[4], openat(a, "missing", O_RDONLY));
	b = open(path[2], O_DIRECTORY);
	dup2(b, a); /* the same number, another directory */
	opened("three", path[7], openat(a, "three", O_RDONLY));
	opened(path[2], path[2], open(path[2], O_TMPFILE | O_RDWR, 0600));
	root = open(path[0], O_DIRECTORY);
	opened("/etc/hostname", path[6], syscall(SYS_openat2, root, "/etc/hostname", &how, sizeof(how)));
	opened(path[3], path[3], openat(12345, path[3], O_RDONLY));
}

/* Signals by people, by the kernel, and none. */
static int began[2]; /* a pipe on which a child says that it has begun */

static void say_begun(void) { write(began[1], "x", 1); }
static void wait_begun(void) { char byte; read(began[0], &byte, 1); }

static pid_t child(void (*body)(void))
{
	pid_t pid = fork();

	if (!pid) {
		body();
		_exit(0);
	}
	wait_begun();
	return pid;
}

static void sleeps(void) { say_begun(); sleep(5); }
static void ignores(void) { signal(SIGUSR2, SIG_IGN); say_begun(); pause_ms(300); }
static void reads_nowhere(void) { say_begun(); *(volatile char *)8; }
static int pipe_ends[2];
static void writes_to_nobody(void) { say_begun(); write(pipe_ends[1], "x", 1); }

static void sets_timer(void)
{
	struct itimerval soon = { .it_value.tv_usec = 50000 };

	say_begun();
	setitimer(ITIMER_REAL, &soon, NULL);
	sleep(5);
}

static volatile pid_t thread_id;
static void *waits(void *unused) { (void)unused; thread_id = gettid(); say_begun(); pause_ms(300); return NULL; }
static void handled(int signal) { (void)signal; }

static void signals(void)
{
	pid_t me = getpid(), p, group = 0;
	pthread_t thread;

	pipe(began);
	printf("0\t%d\t%d\n", child(sets_timer), SIGALRM);
	printf("0\t%d\t%d\n", child(reads_nowhere), SIGSEGV);
	pipe(pipe_ends);
	close(pipe_ends[0]);
	printf("0\t%d\t%d\n", child(writes_to_nobody), SIGPIPE);
	p = child(sleeps);
	for (int i = 0; i < 5; i++)
		kill(p, 0); /* asks, and sends nothing */
	sigqueue(p, SIGRTMIN + 2, (union sigval){ .sival_int = 42 });
	printf("%d\t%d\t%d\n", me, p, SIGRTMIN + 2);
	p = child(ignores);
	kill(p, SIGUSR2);
	printf("%d\t%d\t%d\n", me, p, SIGUSR2);
	for (int i = 0; i < 3; i++) {
		p = child(sleeps);
		if (!group)
			group = p;
		setpgid(p, group);
		printf("%d\t%d\t%d\n", me, p, SIGTERM);
	}
	killpg(group, SIGTERM);
	signal(SIGUSR1, handled);
	pthread_create(&thread, NULL, waits, NULL);
	wait_begun();
	pthread_kill(thread, SIGUSR1);
	printf("%d\t%d\t%d\n", me, thread_id, SIGUSR1);
	pthread_join(thread, NULL);
	while (wait(NULL) > 0)
		;
}

/* Who listens, who accepts and who serves are three. */
enum { REQUESTS = 10 };

static void serve(int connection, pid_t accepted_by)
{
	struct sockaddr_in peer;
	socklen_t size = sizeof(peer);
	char request[200];

	read(connection, request, sizeof(request));
	write(connection, "answer", 6);
	getpeername(connection, (struct sockaddr *)&peer, &size);
	printf("%d\t%d\t%d\n", ntohs(peer.sin_port), accepted_by, getpid());
	close(connection);
}

static void accept_some(int listener)
{
	for (int i = 0; i < REQUESTS; i++)
		serve(accept(listener, NULL, NULL), getpid());
	_exit(0);
}

static void pass(int over, int connection)
{
	char room[CMSG_SPACE(sizeof(int))] = {}, byte = 'x';
	struct iovec data = { &byte, 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room) };
	struct cmsghdr *part = CMSG_FIRSTHDR(&message);

	part->cmsg_level = SOL_SOCKET;
	part->cmsg_type = SCM_RIGHTS;
	part->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(part), &connection, sizeof(int));
	sendmsg(over, &message, 0);
}

static int take(int over)
{
	char room[CMSG_SPACE(sizeof(int))] = {}, byte;
	struct iovec data = { &byte, 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room) };
	int connection;

	recvmsg(over, &message, 0);
	memcpy(&connection, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
	return connection;
}

static void served(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(at);
	int listener, pair[2], ending[2];
	pid_t client, maker, p;

	/* A child listens; the others have the listener from it. */
	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	pipe(ending);
	maker = fork();
	if (!maker) {
		char byte;

		listener = socket(AF_INET, SOCK_STREAM, 0);
		bind(listener, (struct sockaddr *)&at, sizeof(at));
		listen(listener, 50);
		pass(pair[1], listener);
		read(ending[0], &byte, 1);
		_exit(0);
	}
	listener = take(pair[0]);
	getsockname(listener, (struct sockaddr *)&at, &size);
	client = fork();
	if (!client) {
		char answer[200];

		for (int i = 0; i < 3 * REQUESTS; i++) {
			int c = socket(AF_INET, SOCK_STREAM, 0);

			connect(c, (struct sockaddr *)&at, sizeof(at));
			write(c, "request", 7);
			while (read(c, answer, sizeof(answer)) > 0)
				;
			close(c);
		}
		_exit(0);
	}
	p = fork();
	if (!p)
		accept_some(listener); /* a worker accepts and serves */
	waitpid(p, NULL, 0);
	write(ending[1], "x", 1);
	waitpid(maker, NULL, 0);
	p = fork();
	if (!p) { /* one process accepts, another serves */
		for (int i = 0; i < REQUESTS; i++)
			serve(take(pair[0]), getppid());
		_exit(0);
	}
	for (int i = 0; i < REQUESTS; i++) {
		int c = accept(listener, NULL, NULL);

		pass(pair[1], c);
		close(c);
	}
	waitpid(p, NULL, 0);
	p = fork();
	if (!p)
		accept_some(listener);
	waitpid(p, NULL, 0);
	waitpid(client, NULL, 0);
}

static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
#ifdef __x86_64__
	{ "compat", compat },
#endif
	{ "exits", exits }, { "thread-starts", thread_starts }, { "paths", paths }, { "signals", signals }, { "served", served },
};

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IONBF, 0);
	printf("ready\n");
	while (getchar() != '\n')
		;
	for (unsigned i = 0; argc > 1 && i < sizeof(cases) / sizeof(*cases); i++)
		if (!strcmp(argv[1], cases[i].name))
			cases[i].run();
	pause_ms(200); /* softirqs handle the last segments */
	printf("done\n");
	while (getchar() != EOF) /* its own end is no event */
		;
	return 0;
}
