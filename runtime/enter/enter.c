// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// The process that a Plan (enter.go) describes, from the execve of this binary
// to that of the command. It runs before Go's runtime starts, with one thread.
//
// Stage 1 joins the container's namespaces and forks stage 2 into its pid
// namespace, as a child of whoever started stage 1. Stage 2 waits until that one
// has put it into its cgroup, gives up its rights and executes the command.
//
// Whatever fails before that is reported and has no effect on the container:
// the caller then does it the long way. Nothing the container controls is
// parsed, but /etc/passwd for a home directory.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC 4U
#endif
#ifndef PR_CAP_AMBIENT
#define PR_CAP_AMBIENT 47
#define PR_CAP_AMBIENT_RAISE 2
#define PR_CAP_AMBIENT_CLEAR_ALL 4
#endif

#define MAX_PLAN (8u << 20)	/* bytes; as enter.go says */
#define MAX_PASSWD (1 << 20)

enum { /* of plan.flags, as in enter.go */
	NO_NEW_PRIVS = 1,
	SET_GROUPS = 2,
	SET_UMASK = 4,
	NEW_HOME = 8,
	OWN_USERNS = 16,
};

/* The fixed part of a plan, in the machine's byte order. Groups, the filter and
 * strings, each with its 0, follow. */
struct plan {
	uint32_t size;		/* of all that follows this struct */
	uint32_t namespaces;	/* CLONE_NEW* */
	uint32_t pidfd;		/* of the container's init */
	uint32_t keep;		/* descriptors below this are the command's */
	uint32_t flags;
	uint32_t uid, gid, umask;
	uint32_t filter_flags;	/* SECCOMP_FILTER_FLAG_* */
	uint32_t groups, filter, args, env;	/* how many */
	uint32_t padding;
	uint64_t bounding, effective, permitted, inheritable, ambient;
};

/* What is reported: a pid, or where an errno comes from. */
struct report {
	int32_t pid;
	int32_t error;
	char step[24];
};

static int channel;

static void report(pid_t pid, int error, const char *step)
{
	struct report r = { .pid = pid, .error = error };

	strncpy(r.step, step, sizeof(r.step) - 1);
	if (write(channel, &r, sizeof(r)) != sizeof(r))
		_exit(255);
}

static void fail(const char *step)
{
	report(0, errno ? errno : EINVAL, step);
	_exit(255);
}

static void must(long result, const char *step)
{
	if (result < 0)
		fail(step);
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

/* text returns the next string of a plan. */
static char *text(char **at, char *end)
{
	char *s = *at, *zero = memchr(s, 0, end - s);

	errno = EINVAL;
	if (!zero)
		fail("plan");
	*at = zero + 1;
	return s;
}

static void adjust_oom(const char *value)
{
	int fd;

	if (!*value)
		return;
	fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	must(fd, "oom_score_adj");
	must(write(fd, value, strlen(value)), "oom_score_adj");
	close(fd);
}

/* executable is what a shell finds, by the rules of Go's exec.LookPath. */
static int executable(const char *file)
{
	struct stat s;

	if (stat(file, &s) < 0)
		return 0;
	errno = EISDIR;
	if (S_ISDIR(s.st_mode))
		return 0;
	if (faccessat(AT_FDCWD, file, X_OK, AT_EACCESS) < 0)
		return 0;
	errno = EACCES;
	return (s.st_mode & 0111) != 0;
}

static char *look_up(char *name, char **env)
{
	static char file[PATH_MAX];
	const char *dirs = NULL;

	if (strchr(name, '/'))
		return executable(name) ? name : NULL;
	for (; *env; env++)
		if (!strncmp(*env, "PATH=", 5))
			dirs = *env + 5;
	while (dirs && *dirs) {
		size_t length = strcspn(dirs, ":");

		/* A relative entry is for the long way to refuse. */
		errno = ENOENT;
		if (*dirs != '/' || length + strlen(name) + 2 > sizeof(file))
			return NULL;
		memcpy(file, dirs, length);
		file[length] = '/';
		strcpy(file + length + 1, name);
		if (executable(file))
			return file;
		dirs += length;
		dirs += *dirs == ':';
	}
	errno = ENOENT;
	return NULL;
}

/* home returns HOME= and the home directory of the first entry with this uid. */
static char *home(uint32_t uid)
{
	char *line = NULL, *result = NULL;
	size_t size = 0, read = 0;
	struct stat s;
	FILE *f;
	int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return "HOME=/";
	must(fstat(fd, &s), "passwd");
	errno = EINVAL;
	if (!S_ISREG(s.st_mode) || s.st_size > MAX_PASSWD)
		fail("passwd");
	f = fdopen(fd, "r");
	if (!f)
		fail("passwd");
	while (!result) {
		ssize_t n = getline(&line, &size, f);
		char *field[7] = { 0 }, *at = line, *end;
		int i;

		if (n < 0)
			break;
		read += n;
		errno = EINVAL;
		if (read > MAX_PASSWD || strlen(line) != (size_t)n)
			fail("passwd");
		line[strcspn(line, "\n")] = 0;
		for (i = 0; i < 7 && at; i++)
			field[i] = strsep(&at, ":");
		if (!*line)
			continue;
		/* What is not quite an entry is for the long way to judge. */
		errno = EINVAL;
		if (i < 7 || at || !*field[2] || strspn(field[2], "0123456789") != strlen(field[2]))
			fail("passwd");
		errno = 0;
		if (strtoul(field[2], &end, 10) != uid || errno)
			continue;
		errno = EINVAL;
		if (field[5][0] != '/')
			fail("passwd");
		must(asprintf(&result, "HOME=%s", field[5]), "passwd");
	}
	fclose(f);
	free(line);
	return result ? result : "HOME=/";
}

/* own_stdio gives the command its standard streams. */
static void own_stdio(uint32_t uid)
{
	for (int fd = 0; fd < 3; fd++) {
		struct stat s;

		must(fstat(fd, &s), "stdio");
		if (s.st_uid == uid || (S_ISCHR(s.st_mode) && s.st_rdev == makedev(1, 3)))
			continue;
		if (fchown(fd, uid, -1) < 0 && errno != EPERM && errno != EROFS)
			fail("stdio");
	}
}

static void bound(uint64_t allowed)
{
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
		if (cap > 63 || !(allowed >> cap & 1))
			must(prctl(PR_CAPBSET_DROP, cap), "bounding set");
}

static void set_caps(const struct plan *p)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	for (int i = 0; i < 2; i++) {
		data[i].effective = p->effective >> (32 * i);
		data[i].permitted = p->permitted >> (32 * i);
		data[i].inheritable = p->inheritable >> (32 * i);
	}
	must(syscall(SYS_capset, &header, data), "capset");
	must(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "ambient set");
	for (int cap = 0; cap < 64; cap++)
		if (p->ambient >> cap & 1)
			must(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0), "ambient set");
}

static void set_filter(const struct plan *p, struct sock_filter *filter)
{
	struct sock_fprog program = { .len = p->filter, .filter = filter };

	if (p->filter)
		must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, p->filter_flags, &program), "seccomp");
}

/* become gives up every right that the command has not. */
static void become(const struct plan *p, gid_t *groups, const char *cwd)
{
	char where[PATH_MAX];
	int there;

	there = chdir(cwd) == 0;
	if (!there && errno != EACCES && errno != EPERM)
		fail("working directory");
	bound(p->bounding);
	must(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0), "keepcaps");
	own_stdio(p->uid);
	if (p->flags & SET_GROUPS)
		must(setgroups(p->groups, groups), "groups");
	must(setgid(p->gid), "gid");
	must(setuid(p->uid), "uid");
	if (!there)
		must(chdir(cwd), "working directory");
	/* A directory outside of the root: CVE-2024-21626. */
	must(syscall(SYS_getcwd, where, sizeof(where)), "working directory");
	errno = EXDEV;
	if (where[0] != '/')
		fail("working directory");
	must(prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0), "keepcaps");
	set_caps(p);
}

static void run(const struct plan *p, char *at, char *end)
{
	gid_t *groups = (gid_t *)at;
	struct sock_filter *filter;
	char *keyring, *cwd, *file, *why, **args, **env, go;
	uint32_t i, n = 0;

	at += p->groups * sizeof(gid_t);
	filter = (struct sock_filter *)at;
	at += p->filter * sizeof(struct sock_filter);
	errno = EINVAL;
	if (at > end)
		fail("plan");
	keyring = text(&at, end);
	cwd = text(&at, end);
	args = calloc(p->args + 1, sizeof(char *));
	env = calloc(p->env + 2, sizeof(char *));
	if (!args || !env)
		fail("memory");
	for (i = 0; i < p->args; i++)
		args[i] = text(&at, end);
	for (i = 0; i < p->env; i++)
		env[n++] = text(&at, end);

	receive(&go, 1);
	must(setsid(), "session");
	if (p->flags & OWN_USERNS)
		must(setresuid(0, 0, 0), "root");
	must(setresgid(0, 0, 0), "root");
	if (*keyring)
		must(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, keyring), "keyring");
	if (p->flags & NO_NEW_PRIVS)
		must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
	else
		set_filter(p, filter);	/* later it could not */
	if (p->flags & SET_UMASK)
		umask(p->umask);
	must(syscall(SYS_close_range, p->keep, ~0U, CLOSE_RANGE_CLOEXEC), "close_range");
	if (p->flags & NEW_HOME)
		env[n++] = home(p->uid);
	become(p, groups, cwd);
	file = look_up(args[0], env);
	if (!file)
		fail("command");
	report(0, 0, "ready");
	if (p->flags & NO_NEW_PRIVS)
		set_filter(p, filter);
	/* Closed, not only on execve, for the command may be a path to one of
	 * them (CVE-2024-21626). After "ready", that says that it is executed. */
	if (syscall(SYS_close_range, p->keep, ~0U, 0) < 0)
		_exit(255);
	execve(file, args, env);
	why = strerror(errno);
	dprintf(2, "exec %s: %c%s\n", file, *why | 0x20, why + 1);
	_exit(255);
}

static void enter(const char *number)
{
	struct plan p;
	char *data, *at, *end, *oom;
	pid_t pid;

	channel = atoi(number);
	receive(&p, sizeof(p));
	errno = EINVAL;
	if (p.size > MAX_PLAN || (uint64_t)p.groups * sizeof(gid_t) + (uint64_t)p.filter * sizeof(struct sock_filter) > p.size ||
	    p.args > p.size || p.env > p.size || p.args < 1)
		fail("plan");
	data = malloc(p.size);
	if (!data)
		fail("memory");
	receive(data, p.size);
	at = data;
	end = data + p.size;
	oom = text(&at, end);
	/* Groups and filter are aligned by the caller. */
	at = data + ((at - data + 7) & ~(size_t)7);

	adjust_oom(oom);
	/* So that nothing in there looks into a process that has not arrived. */
	must(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "dumpable");
	must(setns(p.pidfd, p.namespaces), "namespaces");
	if (p.flags & OWN_USERNS)
		must(setresuid(0, 0, 0), "root");
	pid = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
	must(pid, "clone");
	if (pid == 0) {
		run(&p, at, end);
		_exit(255);
	}
	report(pid, 0, "");
	_exit(0);
}

__attribute__((constructor)) static void constructor(int argc, char **argv)
{
	const char *number = getenv("_CPC_ENTER");

	if (number && argc == 2 && !strcmp(argv[1], "enter"))
		enter(number);
}
