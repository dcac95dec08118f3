// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Mounts of a container, by the system calls that take descriptors: what is
// mounted is moved onto the directory or file that was looked at, not onto a
// name (CVE-2025-31133).
//
// Sources of bind mounts are the caller's paths.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "caller.h"
#include "step.h"

#ifndef MOVE_MOUNT_T_EMPTY_PATH
#define MOVE_MOUNT_T_EMPTY_PATH 0x40
#endif

static int mask = -1;		/* the mount over masked directories */

void attach(int tree, int at, const char *path)
{
	must(syscall(SYS_move_mount, tree, "", at, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH), path);
	close(at);
}

int set_attr(int tree, int flags, uint64_t set, uint64_t clear, uint64_t propagation)
{
	struct mount_attr attr = { .attr_set = set, .attr_clr = clear, .propagation = propagation };

	return syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | flags, &attr, sizeof(attr));
}

int clone_tree(int at, const char *path, int flags)
{
	return must(syscall(SYS_open_tree, at, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | flags), path);
}

static void option(int fs, char *text, const char *path)
{
	char *value = strchr(text, '=');

	if (value)
		*value++ = 0;
	must(syscall(SYS_fsconfig, fs, value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, text, value, 0), path);
}

/* propagate applies the propagation that a mount's last strings ask for. */
static void propagate(int tree, char **flags, uint32_t n, const char *path)
{
	for (uint32_t i = 0; i < n; i++) {
		unsigned long f = strtoul(flags[i], NULL, 10);

		must(set_attr(tree, f & MS_REC ? AT_RECURSIVE : 0, 0, 0, f & ~MS_REC), path);
	}
}

/* is_there says whether a mount of the same file system is right here. The calls that
 * take descriptors would put the other on top; mount(2) has EBUSY for it. */
static int is_there(int tree, int at, const char *path)
{
	struct stat new, old;
	struct statx here;

	must(fstat(tree, &new), path);
	must(fstat(at, &old), path);
	must(statx(at, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, STATX_INO, &here), path);
	return new.st_dev == old.st_dev && here.stx_attributes & STATX_ATTR_MOUNT_ROOT;
}

/* create returns a mount of a file system that is set up, attached; -1 where that is
 * not allowed or there already, and the next step is for that. */
static int create(const struct step *s, int fs, int at, const char *path)
{
	int may_fail = s->flags & OR_NEXT, fd = -1;
	long result = syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0);

	if (result == 0)
		result = fd = syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, (unsigned int)s->set);
	if (result >= 0 && may_fail && is_there(fd, at, path)) {
		errno = EBUSY;
		result = -1;
	}
	if (result >= 0)
		result = syscall(SYS_move_mount, fd, "", at, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
	if (result < 0 && !(may_fail && (errno == EPERM || errno == EBUSY)))
		fail(path);
	close(fs);
	close(at);
	if (result < 0 && fd >= 0)
		close(fd);
	return result < 0 ? -1 : fd;
}

/* refuse_link fails where a path is a symbolic link: procfs and sysfs are not mounted
 * where one leads. There may be some on the way. */
static void refuse_link(const char *path)
{
	int fd = open_at(root_fd, path, O_PATH | O_NOFOLLOW, RESOLVE_IN_ROOT);
	struct stat s;

	if (fd < 0 && errno == ENOENT)
		return;
	must(fd, path);
	must(fstat(fd, &s), path);
	close(fd);
	errno = ELOOP;
	if (S_ISLNK(s.st_mode))
		fail(path);
}

/* mount_new: type, source, destination, options; number of them are options,
 * what follows is propagation. */
int mount_new(const struct step *s, char **t)
{
	const char *path = t[2];
	int made, at, fs, fd;
	struct stat old;
	char mode[16];

	if (s->flags & PROC || !strcmp(t[0], "sysfs"))
		refuse_link(path);
	at = open_directory(path, &made);
	fs = must(syscall(SYS_fsopen, t[0], FSOPEN_CLOEXEC), path);
	if (*t[1])
		must(syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "source", t[1], 0), path);
	if (s->flags & COPY_MODE && !made) {
		must(fstat(at, &old), path);
		snprintf(mode, sizeof(mode), "mode=%04o", old.st_mode & 07777);
		option(fs, mode, path);
	}
	if (s->flags & READ_ONLY)
		must(syscall(SYS_fsconfig, fs, FSCONFIG_SET_FLAG, "ro", NULL, 0), path);
	for (uint32_t i = 0; i < s->number; i++)
		option(fs, t[3 + i], path);
	fd = create(s, fs, at, path);
	if (fd < 0)
		return fd;
	propagate(fd, t + 3 + s->number, s->strings - 3 - s->number, path);
	if (s->flags & PROC)
		proc_fd = must(fcntl(fd, F_DUPFD_CLOEXEC, 3), path);
	return fd;
}

/* set_flags gives a bind mount exactly these flags. Those that are locked stay,
 * unless the caller has asked for the opposite (number). */
static void set_flags(int tree, const struct step *s, const char *path)
{
	const struct { uint64_t st, attr; } all[] = {
		{ 1, MOUNT_ATTR_RDONLY }, { 2, MOUNT_ATTR_NOSUID }, { 4, MOUNT_ATTR_NODEV }, { 8, MOUNT_ATTR_NOEXEC },
	};
	uint64_t locked = 0;
	struct statfs st;
	int error;

	if (set_attr(tree, 0, s->set, s->clear & ~s->set, 0) == 0)
		return;
	error = errno;
	must(fstatfs(tree, &st), path);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (st.f_flags & all[i].st)
			locked |= all[i].attr;
	errno = error;
	if (locked & s->number)
		fail(path);
	must(set_attr(tree, 0, s->set | locked, s->clear & ~(s->set | locked), 0), path);
}

/* bind_mount: source, destination, what to ask the caller if the source is closed
 * to this process, propagation. */
int bind_mount(const struct step *s, char **t)
{
	int flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (s->flags & RECURSIVE ? AT_RECURSIVE : 0), fd;
	int tree = syscall(SYS_open_tree, AT_FDCWD, t[0], flags);
	struct stat what;

	if (tree < 0 && errno == EACCES && *t[2]) {
		fd = ask_source(t[2]);
		tree = syscall(SYS_open_tree, fd, "", flags | AT_EMPTY_PATH);
		close(fd);
	}
	if (tree < 0 && errno == ENOENT && s->flags & OR_MASK) {
		close(open_directory(t[1], NULL));
		mask_path(t[1]);
		return -1;
	}
	must(tree, t[0]);
	must(fstat(tree, &what), t[0]);
	attach(tree, S_ISDIR(what.st_mode) ? open_directory(t[1], NULL) : open_file(settled(t[1])), t[1]);
	propagate(tree, t + 3, s->strings - 3, t[1]);
	if (s->clear)
		set_flags(tree, s, t[1]);
	if (s->major | s->minor)
		must(set_attr(tree, AT_RECURSIVE, s->major, s->minor, 0), t[1]);
	return tree;
}

/* lock_path makes what is there read-only. */
void lock_path(const char *path)
{
	int fd = open_at(root_fd, path, O_PATH, RESOLVE_IN_ROOT), tree;

	if (fd < 0 && errno == ENOENT)
		return;
	must(fd, path);
	tree = clone_tree(fd, "", AT_EMPTY_PATH | AT_RECURSIVE);
	must(set_attr(tree, 0, MOUNT_ATTR_RDONLY, 0, 0), path);
	attach(tree, fd, path);
	close(tree);
}

/* empty_directory is one mount for all masked directories. */
static int empty_directory(void)
{
	char blocks[] = "nr_blocks=1", inodes[] = "nr_inodes=1", source[] = "source=tmpfs";
	int fs = must(syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC), "mask");

	option(fs, source, "mask");
	option(fs, blocks, "mask");
	option(fs, inodes, "mask");
	must(syscall(SYS_fsconfig, fs, FSCONFIG_SET_FLAG, "ro", NULL, 0), "mask");
	must(syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0), "mask");
	mask = must(syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY), "mask");
	close(fs);
	return mask;
}

/* mask_path hides what is there. */
void mask_path(const char *path)
{
	int fd = open_at(root_fd, path, O_PATH, RESOLVE_IN_ROOT), null;
	struct stat s;

	if (fd < 0 && errno == ENOENT)
		return;
	must(fd, path);
	must(fstat(fd, &s), path);
	if (S_ISDIR(s.st_mode)) {
		attach(mask < 0 ? empty_directory() : clone_tree(mask, "", AT_EMPTY_PATH), fd, path);
	} else {
		null = open_null(O_PATH);
		attach(clone_tree(null, "", AT_EMPTY_PATH), fd, path);
		close(null);
	}
}
