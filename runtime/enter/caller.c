// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// What a container's init says to the libcontainer that started it, and asks of it:
// pids and messages as JSON over two sockets, as libcontainer's own init does.
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "caller.h"
#include "process.h"

int pipe_fd, sync_fd, before_hooks;
pid_t stage2;

void tell_caller(const char *step)
{
	char where[256], message[512], *why = strerror(errno ? errno : EINVAL);

	snprintf(where, sizeof(where), "%s", step);
	for (char *c = where; *c; c++)
		if (*c < ' ' || *c > '~' || *c == '"' || *c == '\\')
			*c = '?';	/* no JSON */
	snprintf(message, sizeof(message), "{\"type\":\"procError\",\"arg\":{\"message\":\"%s%s: %s\"}}", before_hooks ? BEFORE_HOOKS : "", where, why);
	if (stage2 > 0)
		kill(stage2, SIGKILL);
	_exit(write(sync_fd, message, strlen(message)) < 0 ? 254 : 255);
}

/* await returns when the caller has written to the pipe, a netlink message with
 * what is in the plan as well. By then this process is in its cgroup. */
void await(void)
{
	char buf[4096];
	uint32_t left;

	errno = EPIPE;
	if (recv(pipe_fd, &left, sizeof(left), MSG_WAITALL) != sizeof(left))
		fail("pipe");
	for (left -= sizeof(left); left > 0;) {
		ssize_t n = recv(pipe_fd, buf, left < sizeof(buf) ? left : sizeof(buf), 0);

		errno = EPIPE;
		if (n <= 0)
			fail("pipe");
		left -= n;
	}
}

/* exchange sends a message to the caller, and awaits its answer. What the caller
 * writes to the pipe meanwhile, its configuration, is in the plan. */
void exchange(const char *say, const char *expect)
{
	struct pollfd fds[2] = { { .fd = sync_fd, .events = POLLIN }, { .fd = pipe_fd, .events = POLLIN } };
	static char buf[65536];
	ssize_t n;

	must(write(sync_fd, say, strlen(say)), expect);
	do {
		if (poll(fds, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			fail(expect);
		}
		if (fds[1].revents && recv(pipe_fd, buf, sizeof(buf), MSG_DONTWAIT) <= 0)
			fds[1].fd = -1;
	} while (!fds[0].revents);
	n = recv(sync_fd, buf, sizeof(buf) - 1, 0);
	if (n <= 0)
		_exit(255);	/* the caller has gone, or given up */
	buf[n] = 0;
	errno = EPROTO;
	if (strncmp(buf, "{\"type\":\"", 9) || strncmp(buf + 9, expect, strlen(expect)) || buf[9 + strlen(expect)] != '"')
		fail(expect);
}

/* hooks is the step before which nothing leaves the container's old root. */
void hooks(void)
{
	before_hooks = 0;
	exchange("{\"type\":\"procHooks\"}", "procHooksDone");
}

/* ask_source has the caller open the source of a bind mount, which is closed to
 * the container's root, in this mount namespace. */
int ask_source(const char *request)
{
	char *say, name[4096], control[CMSG_SPACE(sizeof(int))];
	struct iovec data = { .iov_base = name, .iov_len = sizeof(name) };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *passed;
	int fd;

	must(asprintf(&say, "{\"type\":\"procMountPlease\",\"arg\":%s}", request), "source");
	exchange(say, "procMountFd");
	free(say);
	must(recvmsg(sync_fd, &message, MSG_CMSG_CLOEXEC), "source");
	passed = CMSG_FIRSTHDR(&message);
	errno = EPROTO;
	if (!passed || passed->cmsg_level != SOL_SOCKET || passed->cmsg_type != SCM_RIGHTS || passed->cmsg_len != CMSG_LEN(sizeof(fd)))
		fail("source");
	memcpy(&fd, CMSG_DATA(passed), sizeof(fd));
	return fd;
}
