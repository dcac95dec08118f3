// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

#ifndef CPC_STEP_H
#define CPC_STEP_H

#include "process.h"

enum { /* kinds of steps: step.go says what their strings are */
	JOIN = 1, PROPAGATE, PARENT, ROOT, MOUNT, BIND, DEVICE, LINK, HOOKS, PIVOT,
	NULL_STDIO, DIRECTORY, LOCK, LOCK_ROOT, HOSTNAME, DOMAINNAME, SYSCTL, READONLY, MASK, LOOPBACK,
	CONSOLE,
};

enum { /* of step.flags */
	KEEP = 1,	/* the mount's descriptor, for a later LOCK */
	COPY_MODE = 2,	/* of the directory that is mounted on */
	PROC = 4,	/* the container's procfs */
	READ_ONLY = 8,	/* the file system too */
	RECURSIVE = 16,
	NEEDS_BIND = 32,	/* mknod is not allowed */
	REPLACE = 64,
	OR_NEXT = 128,	/* step, where this mount is not allowed or there already */
	OR_MASK = 256,	/* the destination, if the source is not there */
};

/* The fixed part of a step; its strings follow with those of the others. */
struct step {
	uint32_t kind, flags, strings;
	uint32_t number;	/* a step, a mode, flags of mount(2) or CLONE_NEW* */
	uint64_t set, clear;	/* MOUNT_ATTR_* */
	uint32_t major, minor, uid, gid; /* of a BIND, major and minor are set and cleared in the whole tree */
};

/* Descriptors of the container's root and of its procfs, O_PATH; -1 until there. */
extern int root_fd, proc_fd;

/* path.c: all but the first three do not return where they fail. settled returns
 * a path without links. */
int open_at(int at, const char *path, int flags, uint64_t resolve);
int open_in_root(const char *path, int flags);
int open_entry(int at, const char *name, int flags);
int open_proc(const char *path, int flags);
const char *settled(const char *path);
int open_directory(const char *path, int *made);
int open_above(const char *path, const char **name);
int open_file(const char *path);
int open_null(int flags);
void check_device(int fd, mode_t type, dev_t device, const char *path);

/* mount.c */
void attach(int tree, int at, const char *path);
int set_attr(int tree, int flags, uint64_t set, uint64_t clear, uint64_t propagation);
int clone_tree(int at, const char *path, int flags);
int mount_new(const struct step *s, char **t);
int bind_mount(const struct step *s, char **t);
void lock_path(const char *path);
void mask_path(const char *path);

/* console.c */
extern int console_fd;	/* the socket that the master goes to; -1: none */
void use_terminal(unsigned short rows, unsigned short columns);
void await_size(void);
void mount_terminal(void);

/* step.c */
int join_first(struct process *c);
void take_steps(struct process *c);

#endif
