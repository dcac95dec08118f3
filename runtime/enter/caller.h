// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// caller.c
#ifndef CPC_CALLER_H
#define CPC_CALLER_H

#include <sys/types.h>

#define BEFORE_HOOKS "before hooks: "	/* begins what is reported, if there are some */

extern int pipe_fd, sync_fd;	/* to libcontainer */
extern int before_hooks;	/* there are some, and they have not run */
extern pid_t stage2;		/* in stage 1: ends with it */

void tell_caller(const char *step) __attribute__((noreturn));
void await(void);
void exchange(const char *say, const char *expect);
void hooks(void);
int ask_source(const char *request);

#endif
