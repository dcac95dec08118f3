// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// A container's init, as a Plan (enter.go) describes it, from the execve of this
// binary to that of the command. It runs before Go's runtime starts, with one
// thread, in place of libcontainer's init, and speaks that one's protocol with
// the libcontainer that started it.
//
// Stage 1 has been put into the container's cgroup when its pipe is written to.
// It joins and makes namespaces, by one clone of stage 2 into them as a child of
// whoever started stage 1, writes the user namespace's mappings, and ends. Stage
// 2 carries out the plan's steps (step.c), lets the caller know, gives up its
// rights, waits for start, and executes the command.
//
// Whatever fails before the wait is reported: the caller then removes what there
// is, and makes the container the long way, unless hooks have run.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "caller.h"
#include "process.h"
#include "step.h"

/* What has files of the root that a user namespace has when it is made. */
#define OWNED (CLONE_NEWIPC | CLONE_NEWNET)

/* More descriptors that libcontainer passes; moved out of the command's way. */
static int log_fd, fifo_fd;

static int passed(const char *name)
{
	const char *value = getenv(name);
	int fd;

	if (!value)
		_exit(255);
	fd = fcntl(atoi(value), F_DUPFD_CLOEXEC, 64);
	if (fd < 0)
		_exit(255);
	close(atoi(value));
	return fd;
}

static void load(struct process *c, int fd)
{
	struct stat s;

	must(fstat(fd, &s), "plan");
	errno = EINVAL;
	if (s.st_size < (off_t)sizeof(c->p) || s.st_size > (off_t)(MAX_PLAN + sizeof(c->p)))
		fail("plan");
	c->at = malloc(s.st_size - sizeof(c->p));
	if (!c->at)
		fail("memory");
	errno = EINVAL;
	if (pread(fd, &c->p, sizeof(c->p), 0) != sizeof(c->p) || c->p.size != s.st_size - sizeof(c->p) ||
	    pread(fd, c->at, c->p.size, sizeof(c->p)) != c->p.size)
		fail("plan");
	close(fd);
	c->end = c->at + c->p.size;
	parse(c, sizeof(struct step));
	for (uint32_t i = 0; i < c->p.steps; i++)
		if (c->steps[i].kind == HOOKS && c->steps[i].number)
			before_hooks = 1;	/* the caller may start anew, see launch.go */
}

static void write_map(pid_t pid, const char *name, const char *value)
{
	char path[64];
	int fd;

	if (!*value)
		return;
	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = must(open(path, O_WRONLY | O_CLOEXEC), name);
	must(write(fd, value, strlen(value)), name);
	close(fd);
}

static void join_keyring(const struct process *c)
{
	char text[512];	/* an id is part of it */
	unsigned int permissions;
	long ring, n;

	if (!*c->keyring)
		return;
	ring = must(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, c->keyring), "keyring");
	n = must(syscall(SYS_keyctl, KEYCTL_DESCRIBE, ring, text, sizeof(text)), "keyring");
	errno = EINVAL;
	/* type;uid;gid;permissions;name */
	if (n > (long)sizeof(text) || sscanf(text, "%*[^;];%*[^;];%*[^;];%x;", &permissions) != 1)
		fail("keyring");
	/* So that it can be found and joined by exec. */
	permissions |= c->p.flags & SHARE_KEYRING ? 0x8 : 0x80000;
	must(syscall(SYS_keyctl, KEYCTL_SETPERM, ring, permissions), "keyring");
}

/* arrange leaves, from keep on, the descriptors that are needed to the end: the
 * fifo, this process's directory of descriptors (which runc's init has open by the
 * same name), and those to the caller. */
static void arrange(int keep)
{
	int self = open_proc("thread-self/fd", O_PATH | O_DIRECTORY);
	int high = must(fcntl(self, F_DUPFD_CLOEXEC, 64), "descriptors");
	int *all[5] = { &fifo_fd, &high, &sync_fd, &log_fd, &pipe_fd };

	for (int i = 0; i < 5; i++) {
		must(dup3(*all[i], keep + i, O_CLOEXEC), "descriptors");
		*all[i] = keep + i;
	}
	must(syscall(SYS_close_range, keep + 5, ~0U, 0), "close_range");
}

static void __attribute__((noreturn)) end(int signal)
{
	(void)signal;
	_exit(2);
}

static void go_on(int signal)
{
	(void)signal;
}

/* heed_signals has an init that waits do as libcontainer's, a Go program, does: a
 * request to end ends it, though as pid 1 it would ignore that by default, and
 * what means nothing to it does not. The command has the default of all. */
static void heed_signals(void)
{
	static const int ending[] = { SIGHUP, SIGINT, SIGTERM, SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGSTKFLT, SIGSYS };
	static const int nothing[] = { SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGPWR, SIGXCPU, SIGXFSZ, SIGPIPE };
	struct sigaction action = { .sa_handler = end, .sa_flags = SA_RESTART }, old;

	/* But as pid 1, the default of the first three is right. */
	for (size_t i = getpid() == 1 ? 0 : 3; i < sizeof(ending) / sizeof(ending[0]); i++)
		if (sigaction(ending[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
			sigaction(ending[i], &action, NULL);
	action.sa_handler = go_on;
	for (size_t i = 0; i < sizeof(nothing) / sizeof(nothing[0]); i++)
		if (sigaction(nothing[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
			sigaction(nothing[i], &action, NULL);
	for (int i = SIGRTMIN; i <= SIGRTMAX; i++)
		if (sigaction(i, NULL, &old) == 0 && old.sa_handler == SIG_DFL)
			sigaction(i, &action, NULL);
}

/* wait_for_start blocks until start opens the fifo. The seccomp filter is on. It
 * returns the fifo, whose end says that the command is executed. */
static int wait_for_start(int keep)
{
	char number[16];
	int fd;

	close(sync_fd);
	close(log_fd);
	snprintf(number, sizeof(number), "%d", keep);
	fd = openat(keep + 1, number, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "0", 1) != 1)
		_exit(255);
	/* Closed, not only on execve, for the command may be a path to one of
	 * them (CVE-2024-21626). The fifo cannot be executed. */
	close(keep);
	close(keep + 1);
	return fd;
}

/* execute_or_tell has start say why the command could not be executed. */
static void __attribute__((noreturn)) execute_or_tell(const struct process *c, int fifo)
{
	int error;

	if (!(c->p.flags & TELL))
		close(fifo);
	error = execute(c);
	if (c->p.flags & TELL && dprintf(fifo, "%d %s", error, c->file) > 0)
		_exit(126);
	not_executed(c, error);
}

static void __attribute__((noreturn)) run(struct process *c, int ready)
{
	const struct plan *p = &c->p;
	pid_t parent = getppid();
	char go;

	if (read(ready, &go, 1) != 1)
		_exit(255);
	prctl(PR_SET_NAME, "runc:[2:INIT]", 0, 0, 0); /* tools look for it */
	if (p->flags & OWN_USERNS) {
		must(setresuid(0, 0, 0), "root");
		/* Whoever makes these owns the file system of queues, and lo in sysfs. */
		must(unshare(p->namespaces & OWNED), "namespaces");
	}
	must(setsid(), "session");
	must(setuid(0), "root");
	must(setgid(0), "root");
	if (p->flags & DROP_GROUPS)
		must(setgroups(0, NULL), "groups");
	join_keyring(c);
	take_steps(c);
	if (*c->profile)
		set_profile(c, open_proc(PROFILE, O_WRONLY));
	if (p->flags & NO_NEW_PRIVS)
		must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
	arrange(p->keep);	/* while there is no limit yet */
	heed_signals();
	exchange("{\"type\":\"procReady\"}", "procRun");
	close(pipe_fd);
	if (!(p->flags & NO_NEW_PRIVS))
		set_filter(c);	/* later it could not */
	become(c);
	if (getppid() != parent)
		_exit(255);	/* the caller has gone */
	if (p->flags & NO_NEW_PRIVS)
		set_filter(c);
	execute_or_tell(c, wait_for_start(p->keep));
}

void initialise(const char *number)
{
	struct process c = { 0 };
	char *uids, *gids;
	uint32_t later;
	int ready[2];

	fail = tell_caller;
	sync_fd = passed("_LIBCONTAINER_SYNCPIPE");
	log_fd = passed("_LIBCONTAINER_LOGPIPE");
	pipe_fd = passed("_LIBCONTAINER_INITPIPE");
	fifo_fd = passed("_LIBCONTAINER_FIFOFD");
	if (getenv("_LIBCONTAINER_CONSOLE"))
		console_fd = passed("_LIBCONTAINER_CONSOLE");
	load(&c, atoi(number));
	must(syscall(SYS_close_range, c.p.keep, ~0U, CLOSE_RANGE_CLOEXEC), "close_range");
	await();
	adjust_oom(c.oom);
	if (join_first(&c))
		/* So that nothing in there looks into a process that has not arrived. */
		must(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "dumpable");
	uids = text(&c);
	gids = text(&c);
	later = c.p.flags & OWN_USERNS ? OWNED : 0;
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ready), "socketpair");
	/* The kernel counts what is made in a user namespace for its owner too, and
	 * bounds it by that one's quotas: see owner in quickinit.go. */
	if (c.p.owner)
		must(setresuid(-1, c.p.owner, -1), "owner");
	stage2 = syscall(SYS_clone, CLONE_PARENT | SIGCHLD | (c.p.namespaces & ~later), 0, 0, 0, 0);
	must(stage2, "clone");
	if (stage2 == 0) {
		close(ready[1]);
		run(&c, ready[0]);
	}
	if (c.p.owner)
		must(setresuid(-1, 0, -1), "owner");
	close(ready[0]);
	if (c.p.flags & DENY_GROUPS)
		write_map(stage2, "setgroups", "deny");
	write_map(stage2, "uid_map", uids);
	write_map(stage2, "gid_map", gids);
	must(dprintf(pipe_fd, "{\"stage1_pid\":-1,\"stage2_pid\":%d}\n", stage2), "pipe");
	must(write(ready[1], "", 1), "ready");
	_exit(0);
}
