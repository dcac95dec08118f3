// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// The process that a Plan (enter.go) describes, from the execve of this binary
// to that of the command. It runs before Go's runtime starts, with one thread.
//
// Stage 1 joins the container's namespaces, waits until whoever started it has put
// it into its cgroup, and gives up its rights. It is in no pid namespace of the
// container, so nothing in there can signal it. Only then it forks stage 2 into that
// one, as a child of whoever started stage 1. Stage 2 is what the command is, but
// for its session and its filter. It waits until its pid is known, and executes the
// command. The container's root can stop it then as it can the command; whoever
// waits for it looks for that (enter.go).
//
// Whatever fails before that is reported and has no effect on the container:
// the caller then does it the long way.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "step.h"

static int channel;

static int tell(pid_t pid, int error, const char *step)
{
	struct report r = { .pid = pid, .error = error };

	strncpy(r.step, step, sizeof(r.step) - 1);
	return write(channel, &r, sizeof(r)) == sizeof(r) ? 0 : -1;
}

static void report(pid_t pid, int error, const char *step)
{
	if (tell(pid, error, step) < 0)
		_exit(255);
}

static void __attribute__((noreturn)) give_up(const char *step)
{
	report(0, errno ? errno : EINVAL, step);
	_exit(255);
}

static void receive(void *data, size_t size)
{
	char *at = data;

	while (size > 0) {
		ssize_t n = read(channel, at, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			_exit(255);	/* the caller has gone */
		at += n;
		size -= n;
	}
}

/* prepare is the rest of stage 1. */
static void prepare(struct process *c)
{
	const struct plan *p = &c->p;
	char go;

	report(0, 0, "joined");
	receive(&go, 1);
	must(setresgid(0, 0, 0), "root");
	if (*c->keyring)
		must(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, c->keyring), "keyring");
	if (p->flags & TERMINAL) {
		root_fd = must(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC), "root");
		console_fd = p->pidfd + 1;
		use_terminal(p->rows, p->columns);
		if (p->flags & AWAIT_SIZE)
			await_size();
	}
	if (p->flags & NO_NEW_PRIVS)
		must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
	else
		set_filter(c);	/* later it could not */
	if (p->flags & SET_UMASK)
		umask(p->umask);
	must(syscall(SYS_close_range, p->keep, ~0U, CLOSE_RANGE_CLOEXEC), "close_range");
	c->outside = 1;
	become(c);
}

/* run is stage 2. */
static void __attribute__((noreturn)) run(struct process *c)
{
	const struct plan *p = &c->p;
	int error;
	char go;

	receive(&go, 1);
	arrive(c);
	must(setsid(), "session");
	if (p->flags & TERMINAL)
		must(ioctl(0, TIOCSCTTY, 0), "terminal");
	if (*c->profile)
		set_profile(c, open_proc(PROFILE, O_WRONLY));
	report(0, 0, "ready");
	if (p->flags & NO_NEW_PRIVS)
		set_filter(c);
	/* Closed, not only on execve, for the command may be a path to one of
	 * them (CVE-2024-21626). The channel, a socket, is no such thing; after
	 * "ready", its end says that the command is executed. */
	if (syscall(SYS_close_range, p->keep + 1, ~0U, 0) < 0)
		_exit(255);
	error = execute(c);
	if (p->flags & TELL && tell(0, error, "execve") == 0)
		_exit(126);
	not_executed(c, error);
}

void enter(const char *number)
{
	struct process c = { 0 };
	pid_t pid;

	fail = give_up;
	channel = atoi(number);
	receive(&c.p, sizeof(c.p));
	errno = EINVAL;
	if (c.p.size > MAX_PLAN)
		fail("plan");
	c.at = malloc(c.p.size);
	if (!c.at)
		fail("memory");
	receive(c.at, c.p.size);
	c.end = c.at + c.p.size;
	parse(&c, sizeof(char));

	adjust_oom(c.oom);
	if (*c.profile || c.p.flags & TERMINAL) /* none in there is to be trusted */
		proc_fd = must(open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC), "proc");
	/* So that nothing in there looks into a process that has not arrived. */
	must(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "dumpable");
	must(setns(c.p.pidfd, c.p.namespaces), "namespaces");
	if (c.p.flags & OWN_USERNS)
		must(setresuid(0, 0, 0), "root");
	prepare(&c);
	pid = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
	must(pid, "clone");
	if (pid == 0)
		run(&c);
	report(pid, 0, "");
	_exit(0);
}

/* Before libcontainer's constructor, which has no priority. */
__attribute__((constructor(200))) static void constructor(int argc, char **argv)
{
	const char *number = getenv("_CPC_ENTER"), *level = getenv("_LIBCONTAINER_LOGLEVEL");

	if (argc == 2 && number && !strcmp(argv[1], "enter"))
		enter(number);
	if (argc == 2 && level && !strcmp(argv[1], "init") && !strncmp(level, "plan:", 5))
		initialise(level + 5);
}
