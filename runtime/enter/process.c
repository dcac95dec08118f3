// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// The end of both kinds of processes: rights are given up, and the command is
// executed. Nothing the container controls is parsed, but /etc/passwd for a home
// directory.
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "process.h"

#ifndef PR_CAP_AMBIENT
#define PR_CAP_AMBIENT 47
#define PR_CAP_AMBIENT_RAISE 2
#define PR_CAP_AMBIENT_CLEAR_ALL 4
#endif

#define MAX_PASSWD (1 << 20)

void (*fail)(const char *step) __attribute__((noreturn));

long must(long result, const char *step)
{
	if (result < 0)
		fail(step);
	return result;
}

/* text returns the next string of a plan. */
char *text(struct process *c)
{
	char *s = c->at, *zero = memchr(s, 0, c->end - s);

	errno = EINVAL;
	if (!zero)
		fail("plan");
	c->at = zero + 1;
	return s;
}

/* array returns the next n elements of a plan. */
static void *array(struct process *c, uint32_t n, size_t size)
{
	char *s = c->at;

	errno = EINVAL;
	if ((uint64_t)n * size > (uint64_t)(c->end - s))
		fail("plan");
	c->at += n * size;
	return s;
}

static char **texts(struct process *c, uint32_t n, uint32_t more)
{
	char **list;

	errno = EINVAL;
	if (n > c->p.size)
		fail("plan");
	list = calloc((size_t)n + more + 1, sizeof(char *));
	if (!list)
		fail("memory");
	for (uint32_t i = 0; i < n; i++)
		list[i] = text(c);
	return list;
}

/* parse reads the rest of a plan, from at to end, but the strings of steps. */
void parse(struct process *c, size_t step_size)
{
	char *start = c->at;

	c->oom = text(c);
	/* Aligned by the caller. */
	array(c, -(c->at - start) & 7, 1);
	c->steps = array(c, c->p.steps, step_size);
	c->filter = array(c, c->p.filter, sizeof(struct sock_filter));
	c->groups = array(c, c->p.groups, sizeof(gid_t));
	c->keyring = text(c);
	c->profile = text(c);
	c->cwd = text(c);
	errno = EINVAL;
	if (c->p.args < 1)
		fail("plan");
	c->args = texts(c, c->p.args, 0);
	c->env = texts(c, c->p.env, 1);
}

void adjust_oom(const char *value)
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

		/* As Go has it: an empty entry is the working directory, and what is found
		 * by a relative one is refused. */
		if (length + strlen(name) + 2 <= sizeof(file)) {
			snprintf(file, sizeof(file), "%.*s/%s", length ? (int)length : 1, length ? dirs : ".", name);
			if (executable(file)) {
				errno = EXDEV;
				return *file == '/' ? file : NULL;
			}
		}
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
	int fd;

	/* To open what is no file may wait for ever, or have effects. */
	if (stat("/etc/passwd", &s) < 0 || !S_ISREG(s.st_mode))
		return "HOME=/";
	fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return "HOME=/";
	must(fstat(fd, &s), "passwd");
	if (!S_ISREG(s.st_mode) || s.st_size > MAX_PASSWD) {
		close(fd);
		return "HOME=/";
	}
	f = fdopen(fd, "r");
	if (!f)
		fail("passwd");
	while (!result) {
		ssize_t n = getline(&line, &size, f);
		char *field[6] = { "", "", "", "", "", "" }, *at = line, *end;
		long long id;

		if (n < 0)
			break;
		read += n;
		if (read > MAX_PASSWD)	/* more than its size said */
			break;
		if (strlen(line) != (size_t)n)	/* no variable can hold what it says */
			continue;
		/* Lenient, as libcontainer is: fields may be missing, and what is no number is 0. */
		while (n > 0 && strchr(" \t\n\v\f\r", line[n - 1]))
			line[--n] = 0;
		at += strspn(at, " \t\v\f\r");
		if (!*at)
			continue;
		for (int i = 0; i < 6 && at; i++)
			field[i] = strsep(&at, ":");
		id = strtoll(field[2], &end, 10);
		if (*end || isspace((unsigned char)*field[2]))
			id = 0;
		if (id != uid)
			continue;
		must(asprintf(&result, "HOME=%s", field[5]), "passwd");
	}
	fclose(f);
	free(line);
	return result ? result : "HOME=/";
}

/* own_stdio gives the command its standard streams, but no device of the host's
 * other than a terminal: each is there once, for everybody. */
static void own_stdio(uint32_t uid)
{
	for (int fd = 0; fd < 3; fd++) {
		struct stat s;

		must(fstat(fd, &s), "stdio");
		if (s.st_uid == uid || S_ISBLK(s.st_mode) || (S_ISCHR(s.st_mode) && !isatty(fd)))
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

void set_filter(const struct process *c)
{
	struct sock_fprog program = { .len = c->p.filter, .filter = c->filter };

	if (c->p.filter)
		must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, c->p.filter_flags, &program), "seccomp");
}

/* set_profile has execve put the command under an AppArmor profile. fd is this
 * process's own PROFILE, for nobody may do that to another. It is closed. */
void set_profile(const struct process *c, int fd)
{
	char *value;

	must(asprintf(&value, "exec %s", c->profile), "AppArmor");
	must(write(fd, value, strlen(value)), "AppArmor");
	free(value);
	close(fd);
}

/* check_directory refuses a working directory outside of the root: CVE-2024-21626. */
static void check_directory(void)
{
	char where[PATH_MAX];

	must(syscall(SYS_getcwd, where, sizeof(where)), "working directory");
	errno = EXDEV;
	if (where[0] != '/')
		fail("working directory");
}

/* arrive is for a process that is in its pid namespace only now, where its working
 * directory, below /proc/self, is. */
void arrive(const struct process *c)
{
	if (!c->outside)
		return;
	must(chdir(c->cwd), "working directory");
	check_directory();
}

/* become gives up every right that the command has not, and finds the command. */
void become(struct process *c)
{
	const struct plan *p = &c->p;
	int there;

	if (p->flags & NEW_HOME)
		c->env[p->env] = home(p->uid);
	there = chdir(c->cwd) == 0;
	if (!there && errno != EACCES && errno != EPERM && !(errno == ENOENT && c->outside))
		fail("working directory");
	bound(p->bounding);
	must(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0), "keepcaps");
	own_stdio(p->uid);
	if (p->flags & SET_GROUPS)
		must(setgroups(p->groups, c->groups), "groups");
	must(setgid(p->gid), "gid");
	must(setuid(p->uid), "uid");
	if (!there)
		there = chdir(c->cwd) == 0;
	if (!there && !(errno == ENOENT && c->outside))
		fail("working directory");
	if (there)
		c->outside = 0;
	check_directory();
	must(prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0), "keepcaps");
	set_caps(p);
	c->file = look_up(c->args[0], c->env);
	if (!c->file)
		fail(NO_COMMAND);
}

/* execute returns why the command could not be executed. */
int execute(const struct process *c)
{
	execve(c->file, c->args, c->env);
	return errno;
}

/* not_executed is the end where nobody else says so: with runc's words and its
 * status, or with a shell's. */
void not_executed(const struct process *c, int error)
{
	const char *why = strerror(error);

	dprintf(2, "exec %s: %c%s\n", c->file, *why | 0x20, why + 1);
	_exit(c->p.flags & TELL ? 126 : 255);
}
