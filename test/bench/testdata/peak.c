// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Runs a command and writes the largest resident set of it and of what it
// waited for, in KiB, to the file named first. It is this small because a
// process inherits that figure from what it was before execve.
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct rusage usage;
	int status = 0;
	FILE *out;
	pid_t pid;

	if (argc < 3)
		return 125;
	pid = fork();
	if (pid == 0) {
		execv(argv[2], argv + 2);
		_exit(127);
	}
	if (pid < 0 || wait4(pid, &status, 0, &usage) != pid)
		return 125;
	out = fopen(argv[1], "w");
	if (!out || fprintf(out, "%ld", usage.ru_maxrss) < 0 || fclose(out))
		return 125;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}
