// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os/exec"
	goruntime "runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// Quotas that the kernel keeps for a user or the machine are used up inside, and
// what was got is counted. The numbers are x86-64's.
const hoard = `
sub count { my ($most, $take) = @_; my $n = 0; $n++ while $n < $most && $take->($n); return $n }
my (@keep, $id);
printf "inotify=%d\n", count(1000, sub { syscall(294, 0) >= 0 });
printf "timers=%d\n", count(9000, sub { $id = "\0" x 8; syscall(222, 1, 0, $id) >= 0 });
printf "queues=%d\n", count(100, sub { my $s = "q$_[0]"; syscall(240, $s, 0102, 0600, 0) >= 0 });
$id = "\0" x 8; printf "aio=%s\n", syscall(206, 1, $id) < 0 ? $! + 0 : "ok";
printf "terminals=%d\n", count(500, sub { open($keep[$_[0]], "+<", "/dev/ptmx") });
`

func TestQuotasOfTheKernel(t *testing.T) {
	if goruntime.GOARCH != "amd64" {
		t.Skip("no x86-64: the script has its system call numbers")
	}
	each(t, func(t *testing.T, w *who) {
		for _, options := range [][]string{nil, {"--user", "0"}} {
			args := append([]string{"run", "--rm", "--ulimit", "nofile=4096"}, options...)
			got := facts(w.must(t, append(args, base, "perl", "-e", hoard)...), "=")
			same(t, got, map[string]string{
				"inotify": "16", "timers": "8192", "queues": "2", "aio": "38", "terminals": "64",
			})
		}
	})
	// A control: this process, which nothing bounds, gets more of what is scarcest.
	var fds []int
	for range 17 {
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
		if err != nil {
			t.Fatalf("outside of a sandbox, after %d: %v", len(fds), err)
		}
		fds = append(fds, fd)
	}
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

// TestMaskedOfTheHost: what tells of the machine and its other tenants is not
// shown, though it is outside.
func TestMaskedOfTheHost(t *testing.T) {
	const script = `for f in /proc/cmdline /proc/config.gz /proc/diskstats /proc/partitions /proc/swaps /proc/softirqs; do [ -e $f ] && echo "$f=$(wc -c <$f)"; done
for d in /proc/pressure /sys/block /sys/class/block /sys/dev/block /sys/devices/virtual/block; do [ -e $d ] && echo "$d=$(ls $d | wc -l)"; done
echo disks=$(find /sys/devices -name diskseq 2>/dev/null | wc -l)`
	out, err := exec.Command("sh", "-c", script).Output()
	if err != nil {
		t.Fatal(err)
	}
	outside := facts(string(out), "=")
	each(t, func(t *testing.T, w *who) {
		for name, n := range facts(w.in(t, script), "=") {
			if n != "0" {
				t.Errorf("%s: %s inside, %s outside", name, n, outside[name])
			}
		}
	})
	for _, name := range []string{"/proc/cmdline", "/proc/partitions", "disks"} {
		if outside[name] == "0" || outside[name] == "" {
			t.Errorf("%s: nothing is there outside either", name)
		}
	}
}
