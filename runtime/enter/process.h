// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// What the two kinds of processes have in common that are made from a Plan
// (enter.go): a further one (enter.c) and a container's init (init.c).
#ifndef CPC_PROCESS_H
#define CPC_PROCESS_H

#include <linux/filter.h>
#include <stdint.h>
#include <stddef.h>
#include <sys/types.h>

enum { /* of plan.flags */
	NO_NEW_PRIVS = 1,
	SET_GROUPS = 2,
	SET_UMASK = 4,
	NEW_HOME = 8,
	OWN_USERNS = 16,
	DENY_GROUPS = 32,
	DROP_GROUPS = 64,
	SHARE_KEYRING = 128,
	TERMINAL = 256,		/* of enter.c: the socket is the descriptor after pidfd */
	TELL = 512,		/* the caller, and not the command's stderr, why execve failed */
	AWAIT_SIZE = 1024,	/* of the terminal */
};

/* The fixed part of a plan, in the machine's byte order. Groups, the filter,
 * steps and strings, each with its 0, follow. */
struct plan {
	uint32_t size;		/* of all that follows this struct */
	uint32_t namespaces;	/* CLONE_NEW* */
	uint32_t pidfd;		/* of the container's init */
	uint32_t keep;		/* descriptors below this are the command's */
	uint32_t flags;
	uint32_t uid, gid, umask;
	uint32_t filter_flags;	/* SECCOMP_FILTER_FLAG_* */
	uint32_t groups, filter, args, env, steps;	/* how many */
	uint32_t rows, columns;	/* of a terminal */
	uint32_t owner, unused;	/* of a new user namespace; 0: the caller */
	uint64_t bounding, effective, permitted, inheritable, ambient;
};

/* What a further process reports: a pid, or where an errno comes from. */
struct report {
	int32_t pid;
	int32_t error;
	char step[24];
};

/* A plan in memory. */
struct process {
	struct plan p;
	gid_t *groups;
	struct sock_filter *filter;
	struct step *steps;
	char *oom, *keyring, *profile, *cwd, **args, **env, *file;
	char *at, *end;		/* strings that are left */
	int outside;		/* of its pid namespace yet; after become: its directory is not there yet */
};

/* fail reports errno and does not return. */
#define PROFILE "self/attr/apparmor/exec"	/* in a procfs; Linux 5.1 */
#define MAX_PLAN (8u << 20)	/* bytes */
#define NO_COMMAND "command"	/* the step that fails where there is no such one */
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC 4U
#endif

extern void (*fail)(const char *step) __attribute__((noreturn)); /* set once */

long must(long result, const char *step);
char *text(struct process *c);
void parse(struct process *c, size_t step_size);
void adjust_oom(const char *value);
void set_filter(const struct process *c);
void set_profile(const struct process *c, int fd);
void become(struct process *c);
void arrive(const struct process *c);
int execute(const struct process *c);
void not_executed(const struct process *c, int error) __attribute__((noreturn));

void enter(const char *number) __attribute__((noreturn));
void initialise(const char *number) __attribute__((noreturn));

#endif
