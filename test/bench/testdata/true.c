// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// The only program of the measured containers: ends at once, or with an
// argument never.
#include <unistd.h>

int main(int argc, char **argv)
{
	(void)argv;
	if (argc > 1)
		for (;;)
			pause();
	return 0;
}
