// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// The steps from new namespaces to a container's root file system.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "caller.h"
#include "step.h"

static void device(const struct step *s, const char *path)
{
	dev_t number = makedev(s->major, s->minor);
	mode_t type = s->number & S_IFMT, old;
	const char *name;
	int at = open_above(settled(path), &name), fd, tree;

	if (!(s->flags & NEEDS_BIND)) {
		old = umask(0);
		fd = mknodat(at, name, s->number, number);
		umask(old);
		if (fd == 0) {
			fd = must(open_entry(at, name, O_PATH), path);
			check_device(fd, type, number, path);
			must(fchownat(fd, "", s->uid, s->gid, AT_EMPTY_PATH), path);
			close(fd);
		} else if (errno != EEXIST) {
			fail(path);
		}
	} else {
		fd = open_entry(at, name, O_PATH);
		if (fd < 0 && errno == ENOENT)
			fd = openat(at, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0);
		must(fd, path);
		tree = clone_tree(AT_FDCWD, path, 0);
		check_device(tree, type, number, path);
		attach(tree, fd, path);
		close(tree);
	}
	close(at);
}

/* link: target, path. */
static void make_link(const struct step *s, char **t)
{
	const char *name;
	int at = open_above(t[1], &name);

	if (s->flags & REPLACE && unlinkat(at, name, 0) < 0 && errno != ENOENT)
		fail(t[1]);
	if (symlinkat(t[0], at, name) < 0 && (errno != EEXIST || s->flags & REPLACE))
		fail(t[1]);
	close(at);
}

/* detach_parent sees to it that nothing is propagated from the root to where
 * its file system is mounted. */
static void detach_parent(char *path, unsigned long flags)
{
	while (mount(NULL, path, NULL, flags, NULL) < 0) {
		char *slash = strrchr(path, '/');

		if (errno != EINVAL || !slash || !strcmp(path, "/"))
			fail("propagation");
		slash[slash == path] = 0;
	}
}

static void pivot(void)
{
	int old = must(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC), "root");

	must(fchdir(root_fd), "root");
	must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
	must(fchdir(old), "root");
	/* Not private: see mount_namespaces(7) about what others wait for. */
	must(mount(NULL, ".", NULL, MS_SLAVE | MS_REC, NULL), "root");
	must(umount2(".", MNT_DETACH), "root");
	must(chdir("/"), "root");
	close(old);
}

/* reopen_null has standard streams that are the host's /dev/null be this one's. */
static void reopen_null(void)
{
	int null;

	close(open_null(O_PATH)); /* to open another device may have effects */
	null = open_null(O_RDWR | O_NONBLOCK);
	must(fcntl(null, F_SETFL, 0), "null");
	for (int fd = 0; fd < 3; fd++) {
		struct stat s;

		must(fstat(fd, &s), "null");
		if (S_ISCHR(s.st_mode) && s.st_rdev == makedev(1, 3))
			must(dup3(null, fd, 0), "null");
	}
	close(null);
}

static void lock_root(void)
{
	unsigned long flags = MS_BIND | MS_REMOUNT | MS_RDONLY;
	struct statfs s;

	if (mount(NULL, "/", NULL, flags, NULL) == 0)
		return;
	must(statfs("/", &s), "read-only root"); /* what is locked stays */
	must(mount(NULL, "/", NULL, flags | s.f_flags, NULL), "read-only root");
}

static void sysctl(const char *path, const char *value)
{
	int fd = open_proc(path, O_WRONLY | O_TRUNC);

	must(write(fd, value, strlen(value)), path);
	close(fd);
}

/* in_place makes the working directory, should it be missing. There may be links
 * on the way, but none to a descriptor (CVE-2024-21626). */
static void in_place(const char *path)
{
	int fd = open_at(root_fd, path, O_PATH | O_DIRECTORY, RESOLVE_IN_ROOT);

	close(fd < 0 && errno == ENOENT ? open_directory(path, NULL) : (int)must(fd, path));
}

static void loopback(void)
{
	struct ifreq lo = { .ifr_name = "lo" };
	int s = must(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "lo");

	must(ioctl(s, SIOCGIFFLAGS, &lo), "lo");
	lo.ifr_flags |= IFF_UP;
	must(ioctl(s, SIOCSIFFLAGS, &lo), "lo");
	close(s);
}

static int take(const struct step *s, char **t, const int *kept)
{
	switch (s->kind) {
	case PROPAGATE:
		must(mount(NULL, t[0], NULL, s->number, NULL), "propagation");
		break;
	case PARENT:
		detach_parent(t[0], s->number);
		break;
	case ROOT:
		must(mount(t[0], t[0], NULL, MS_BIND | MS_REC, NULL), "root");
		root_fd = must(open(t[0], O_PATH | O_DIRECTORY | O_CLOEXEC), "root");
		break;
	case MOUNT:
		return mount_new(s, t);
	case BIND:
		return bind_mount(s, t);
	case DEVICE:
		device(s, t[0]);
		break;
	case LINK:
		make_link(s, t);
		break;
	case HOOKS:
		hooks();
		break;
	case PIVOT:
		pivot();
		break;
	case NULL_STDIO:
		reopen_null();
		break;
	case DIRECTORY:
		in_place(t[0]);
		break;
	case LOCK:
		must(set_attr(kept[s->number], 0, MOUNT_ATTR_RDONLY, 0, 0), "read-only mount");
		break;
	case LOCK_ROOT:
		lock_root();
		break;
	case HOSTNAME:
		must(sethostname(t[0], strlen(t[0])), "hostname");
		break;
	case DOMAINNAME:
		must(setdomainname(t[0], strlen(t[0])), "domainname");
		break;
	case SYSCTL:
		sysctl(t[0], t[1]);
		break;
	case READONLY:
		lock_path(t[0]);
		break;
	case MASK:
		mask_path(t[0]);
		break;
	case LOOPBACK:
		loopback();
		break;
	case CONSOLE:
		use_terminal(s->major, s->minor);
		must(ioctl(0, TIOCSCTTY, 0), "terminal");
		mount_terminal();
		break;
	default:
		errno = EINVAL;
		fail("step");
	}
	return -1;
}

static char **strings(struct process *c, const struct step *s)
{
	char **t = calloc(s->strings + 1, sizeof(char *));

	if (!t)
		fail("memory");
	for (uint32_t i = 0; i < s->strings; i++)
		t[i] = text(c);
	return t;
}

/* join_first takes the first steps, and returns how many. */
int join_first(struct process *c)
{
	int n = 0;

	for (; n < (int)c->p.steps && c->steps[n].kind == JOIN; n++) {
		char **t = strings(c, &c->steps[n]);
		int fd = must(open(t[0], O_RDONLY | O_CLOEXEC), t[0]);

		must(setns(fd, c->steps[n].number), t[0]);
		close(fd);
		free(t);
	}
	return n;
}

/* take_steps takes the others, and sets the umask. */
void take_steps(struct process *c)
{
	int *kept = calloc(c->p.steps + 1, sizeof(int));

	if (!kept)
		fail("memory");
	for (uint32_t i = 0; i < c->p.steps; i++) {
		const struct step *s = &c->steps[i];
		char **t;
		int fd;

		if (s->kind == JOIN)
			continue;
		t = strings(c, s);
		fd = take(s, t, kept);
		kept[i] = fd;
		if (fd >= 0 && !(s->flags & KEEP))
			close(fd);
		free(t);
		if (fd >= 0 && s->flags & OR_NEXT && i + 1 < c->p.steps)
			free(strings(c, &c->steps[++i])); /* not needed */
	}
	free(kept);
	umask(c->p.umask);
}
