// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// A process's terminal: a new one of the container's own devpts, whose master
// goes to the caller. Neither what is at /dev/pts/ptmx nor what is at
// /dev/console is to be trusted (CVE-2025-52565): the first is looked at before
// it is opened, and the terminal is mounted onto a descriptor of the second.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "step.h"

int console_fd = -1;

static int new_terminal(void)
{
	int path = must(open_in_root("/dev/pts/ptmx", O_PATH), "ptmx"), fds, fd, locked = 0;
	char number[16];
	struct statfs fs;
	struct stat s;

	must(fstatfs(path, &fs), "ptmx");
	must(fstat(path, &s), "ptmx");
	errno = ENODEV;
	if (fs.f_type != DEVPTS_SUPER_MAGIC || s.st_ino != 2)
		fail("ptmx");
	check_device(path, S_IFCHR, makedev(5, 2), "ptmx");
	snprintf(number, sizeof(number), "%d", path);
	fds = open_proc("self/fd", O_PATH | O_DIRECTORY);
	fd = must(openat(fds, number, O_RDWR | O_NOCTTY | O_CLOEXEC), "ptmx");
	close(fds);
	close(path);
	must(ioctl(fd, TIOCSPTLCK, &locked), "ptmx");
	return fd;
}

/* hand_over sends the master, and the terminal's name. */
static void hand_over(int master)
{
	char name[32], control[CMSG_SPACE(sizeof(master))] = { 0 };
	struct iovec data = { .iov_base = name };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *passed = CMSG_FIRSTHDR(&message);
	unsigned int number;

	must(ioctl(master, TIOCGPTN, &number), "terminal");
	data.iov_len = snprintf(name, sizeof(name), "/dev/pts/%u", number);
	passed->cmsg_level = SOL_SOCKET;
	passed->cmsg_type = SCM_RIGHTS;
	passed->cmsg_len = CMSG_LEN(sizeof(master));
	memcpy(CMSG_DATA(passed), &master, sizeof(master));
	must(sendmsg(console_fd, &message, MSG_NOSIGNAL), "terminal");
	close(console_fd);
	close(master);
}

/* use_terminal makes the standard streams a new terminal of this size. It is not
 * yet the session's. */
void use_terminal(unsigned short rows, unsigned short columns)
{
	struct winsize size = { .ws_row = rows, .ws_col = columns };
	int master = new_terminal();
	int peer = must(ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC), "terminal");

	if (rows && columns)
		must(ioctl(master, TIOCSWINSZ, &size), "terminal");
	hand_over(master);
	for (int fd = 0; fd < 3; fd++)
		must(dup3(peer, fd, 0), "terminal");
	close(peer);
}

/* await_size gives whoever got the master of a terminal without a size some time to
 * set one, before the command asks for it: as much as a start the long way takes. */
void await_size(void)
{
	const struct timespec pause = { .tv_nsec = 500 * 1000 };
	struct winsize size;

	for (int i = 0; i < 40; i++) {
		if (ioctl(0, TIOCGWINSZ, &size) < 0 || size.ws_row || size.ws_col)
			return;
		nanosleep(&pause, NULL);
	}
}

/* mount_terminal has /dev/console be that terminal. */
void mount_terminal(void)
{
	int tree = clone_tree(0, "", AT_EMPTY_PATH);

	attach(tree, open_file("/dev/console"), "/dev/console");
	close(tree);
}
