// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Paths in a container's root file system.
//
// Who wrote it is not to be trusted, nor who else can write to it now. So every
// path is resolved by openat2(2) from a descriptor of the root, never through a
// symbolic link and never outside; one with links in it is for the long way to
// judge. procfs is reached by the descriptor of the container's own, from before
// anything could be mounted over it, and never across a mount (CVE-2025-52881,
// CVE-2026-41579).
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
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

/* open_directory opens a directory of the container, made where it is missing. */
int open_directory(const char *path, int *made)
{
	int fd = open_in_root(path, O_PATH | O_DIRECTORY), at;
	char *parent, *slash;

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

/* open_file opens a file of the container, made where it is missing. */
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
