// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Paths in a container's root file system.
//
// Who wrote it is not to be trusted, nor who else can write to it now. So every
// path is resolved by openat2(2) from a descriptor of the root, never outside, and
// where something is made or mounted, never through a symbolic link: where there is
// one, settled() says first what it stands for, by looking, and that path must then
// have none (any more). procfs is reached by the descriptor of the container's own,
// from before anything could be mounted over it, and never across a mount
// (CVE-2025-52881, CVE-2026-41579).
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "step.h"

int root_fd = -1, proc_fd = -1;

int open_at(int at, const char *path, int flags, uint64_t resolve)
{
	struct open_how how = { .flags = flags | O_CLOEXEC, .resolve = resolve | RESOLVE_NO_MAGICLINKS };
	int fd, tries = 0;

	do /* another process renames something: again, as openat2(2) has it */
		fd = syscall(SYS_openat2, at, path, &how, sizeof(how));
	while (fd < 0 && errno == EAGAIN && ++tries < 128);
	return fd;
}

int open_in_root(const char *path, int flags)
{
	return open_at(root_fd, path, flags, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
}

int open_proc(const char *path, int flags)
{
	return must(open_at(proc_fd, path, flags, RESOLVE_BENEATH | RESOLVE_NO_XDEV), path);
}

/* open_entry opens what a directory has, and no link: with O_NOFOLLOW and O_PATH
 * that would be the link itself. */
int open_entry(int at, const char *name, int flags)
{
	return open_at(at, name, flags, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV);
}

/* link_at reads the symbolic link that is at a path, and returns its length; 0 if
 * there is none, or nothing. One of procfs stands for no path. */
static size_t link_at(const char *path, char *target)
{
	int fd = open_in_root(path, O_PATH | O_NOFOLLOW);
	struct statfs fs;
	ssize_t n;

	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	must(fd, path);
	n = readlinkat(fd, "", target, PATH_MAX - 1);
	if (n < 0 && errno != ENOENT && errno != EINVAL)
		fail(path);
	must(fstatfs(fd, &fs), path);
	close(fd);
	errno = ELOOP;
	if (n == 0 || (n > 0 && fs.f_type == PROC_SUPER_MAGIC))
		fail(path);
	return n < 0 ? 0 : n;
}

/* follow returns the path without links that one with links stands for, in the
 * container's root; what is not there is taken as it is written. */
static char *follow(const char *path)
{
	char done[PATH_MAX] = "", rest[2 * PATH_MAX + 1], target[PATH_MAX], *next, *part, *slash;
	int links = 0;
	size_t n;

	errno = ENAMETOOLONG;
	if (snprintf(rest, sizeof(rest), "%s", path) >= PATH_MAX)
		fail(path);
	for (next = rest; (part = strsep(&next, "/"));) {
		if (!*part || !strcmp(part, "."))
			continue;
		slash = strrchr(done, '/');
		if (!strcmp(part, "..")) {
			if (slash)
				*slash = 0;
			continue;
		}
		slash = done + strlen(done);
		errno = ENAMETOOLONG;
		if (strlen(done) + strlen(part) + 2 > sizeof(done))
			fail(path);
		sprintf(slash, "/%s", part);
		n = link_at(done, target);
		if (!n)
			continue;
		errno = ELOOP;
		if (++links > 40)
			fail(path);
		target[n] = 0;
		*(*target == '/' ? done : slash) = 0;
		errno = ENAMETOOLONG;
		if (next && strlen(next) + n + 2 > PATH_MAX)
			fail(path);
		if (next) {
			memmove(rest + n + 1, next, strlen(next) + 1);
			rest[n] = '/';
		} else {
			rest[n] = 0;
		}
		memcpy(rest, target, n);
		next = rest;
	}
	/* Nothing is made in procfs, nor mounted on the root. */
	errno = EXDEV;
	if (!*done || !strcmp(done, "/proc") || !strncmp(done, "/proc/", 6))
		fail(path);
	part = strdup(done);
	if (!part)
		fail("memory");
	return part;
}

/* settled is a path without links: this one, or what it stands for. */
const char *settled(const char *path)
{
	int fd = open_in_root(path, O_PATH);

	if (fd < 0)
		return errno == ELOOP ? follow(path) : path;
	close(fd);
	return path;
}

/* open_directory opens a directory of the container, made where it is missing. */
int open_directory(const char *path, int *made)
{
	int fd = open_in_root(path, O_PATH | O_DIRECTORY), at;
	char *parent, *slash;

	if (fd < 0 && errno == ELOOP) {
		path = follow(path);
		fd = open_in_root(path, O_PATH | O_DIRECTORY);
	}
	if (made)
		*made = fd < 0;
	if (fd >= 0 || errno != ENOENT)
		return must(fd, path);
	parent = strdup(path);
	slash = parent ? strrchr(parent, '/') : NULL;
	if (!slash)
		fail("directory");
	*slash = 0;
	at = open_directory(slash == parent ? "/" : parent, NULL);
	must(mkdirat(at, slash + 1, 0755), path);
	fd = must(open_entry(at, slash + 1, O_PATH | O_DIRECTORY), path);
	close(at);
	free(parent);
	return fd;
}

/* open_above opens the directory that a path is in, and sets name to the rest. */
int open_above(const char *path, const char **name)
{
	char *parent = strdup(path), *slash = parent ? strrchr(parent, '/') : NULL;
	int fd;

	errno = EINVAL;
	if (!slash || !slash[1])
		fail("path");
	*name = path + (slash - parent) + 1;
	*slash = 0;
	fd = open_directory(slash == parent ? "/" : parent, NULL);
	free(parent);
	return fd;
}

/* open_file opens a file of the container, made where it is missing. It may not be
 * a link. */
int open_file(const char *path)
{
	int fd = open_in_root(path, O_PATH), at;
	const char *name;

	if (fd >= 0 || errno != ENOENT)
		return must(fd, path);
	at = open_above(path, &name);
	fd = must(openat(at, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644), path);
	close(at);
	return fd;
}

/* check_device fails where a descriptor is not of this device. */
void check_device(int fd, mode_t type, dev_t device, const char *path)
{
	struct stat s;

	must(fstat(fd, &s), path);
	errno = ENODEV;
	if ((s.st_mode & S_IFMT) != type || s.st_rdev != device)
		fail(path);
}

int open_null(int flags)
{
	int fd = must(open_in_root("/dev/null", flags), "null");

	check_device(fd, S_IFCHR, makedev(1, 3), "null");
	return fd;
}
