// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package e2e drives the built programs from outside, and looks at sandboxes
// from inside, as the three callers that there are: root, an ordinary user with
// a range of subordinate ids (mapped), and one without (single).
//
// Run as root, the tests make two temporary users for that and remove them at
// the end; what a killed run has left is removed by the next. Run as an ordinary
// user, they test that user's own mode.
//
// CPC_BIN_DIR says where the programs are (default: bin of this tree), CPC_E2E_PROBE
// names a testdata/probe that was built already (default: it is built),
// CPC_BASE_TAR names the tar of a Debian root file system (default: one in
// .cache, which scripts/base-tar.sh makes).
//
// Every caller has directories of its own, which all tests share; its images
// are made once, by the first test that needs them. The subtests of one test
// run in parallel for the three callers, but a caller is in one test at a time:
// so a test may look at all that its caller has left.
package e2e

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/userns"
)

const root, mapped, single = "root", "mapped", "single"

// bed is what the tests of one run share. It is written by TestMain only.
type bed struct {
	dir     string // for everything of this run; anybody may enter it
	baseTar string
	whos    map[string]*who

	probeOnce sync.Once
	probeData []byte
	probeErr  error
}

// theBed is set before any test runs, and only read by them.
var theBed *bed

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	b, err := newBed()
	if err == nil {
		theBed = b
		told := make(chan os.Signal, 1)
		signal.Notify(told, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
		go func() {
			s := <-told
			fmt.Fprintf(os.Stderr, "e2e: ended by signal %v\n", s)
			_ = b.remove()
			os.Exit(1)
		}()
		code := runTests(m)
		if err = b.remove(); err == nil {
			return code
		}
	} else if b != nil {
		err = errors.Join(err, b.remove())
	}
	fmt.Fprintln(os.Stderr, "e2e:", err)
	return 1
}

// runTests runs them for all three callers at a time, on two processors too:
// most of a test's time goes by in waiting.
func runTests(m *testing.M) int {
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(max(3, runtime.GOMAXPROCS(0)))); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	return m.Run()
}

func newBed() (*bed, error) {
	tar, err := findBaseTar()
	if err != nil {
		return nil, err
	}
	if os.Geteuid() == 0 {
		if err := removeStale(); err != nil {
			return nil, err
		}
	}
	// Not in /tmp, which may be memory: three unpacked images go here.
	parent := "/var/tmp"
	if dir := os.Getenv("TMPDIR"); dir != "" {
		parent = dir
	}
	dir, err := os.MkdirTemp(parent, fmt.Sprintf("%s%d-", prefix, os.Getpid()))
	if err != nil {
		return nil, err
	}
	b := &bed{dir: dir, baseTar: tar, whos: map[string]*who{}}
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // the users pass through it
		return b, err
	}
	if err := b.copyPrograms(); err != nil {
		return b, err
	}
	return b, b.addWhos()
}

// copyPrograms puts the programs where the temporary users can reach them,
// wherever the tree is, and where no build replaces them meanwhile.
func (b *bed) copyPrograms() error {
	from := os.Getenv("CPC_BIN_DIR")
	if from == "" {
		from = "../../bin"
	}
	to := filepath.Join(b.dir, "bin")
	if err := os.Mkdir(to, 0o755); err != nil { //nolint:gosec // for all users
		return err
	}
	for _, name := range []string{"cpc", "cpc-runtime", "cpc-scan"} {
		data, err := os.ReadFile(filepath.Join(from, name))
		if errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("no program %s in %s; run: make build", name, from)
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, name), data, 0o755); err != nil { //nolint:gosec // for all users
			return err
		}
	}
	return nil
}

func findBaseTar() (string, error) {
	if file := os.Getenv("CPC_BASE_TAR"); file != "" {
		return file, nil
	}
	file, err := filepath.Abs("../../.cache/base/trixie.tar")
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	cmd := exec.Command("../../scripts/base-tar.sh", file)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("make the base image's tar: %w", err)
	}
	return file, nil
}

func (b *bed) addWhos() error {
	if os.Geteuid() != 0 {
		mode := single
		if userns.Discover().Mode == idmap.Mapped {
			mode = mapped
		}
		w, err := b.newWho(mode, os.Getuid(), os.Getgid())
		b.whos[mode] = w
		return err
	}
	w, err := b.newWho(root, 0, 0)
	if err != nil {
		return err
	}
	b.whos[root] = w
	for _, mode := range []string{mapped, single} {
		uid, gid, err := addUser(mode, filepath.Join(b.dir, mode))
		if err != nil {
			return err
		}
		if w, err = b.newWho(mode, uid, gid); err != nil {
			return err
		}
		b.whos[mode] = w
	}
	return nil
}

// remove takes the run's users, their processes and all files away.
func (b *bed) remove() error {
	var errs []error
	if os.Geteuid() == 0 {
		errs = append(errs, removeUsers(os.Getpid()))
	}
	for _, pid := range b.processes() {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	return errors.Join(append(errs, removeTree(b.dir))...)
}

// removeTree also removes files of the subordinate ids of an ordinary user.
func removeTree(dir string) error {
	err := os.RemoveAll(dir)
	if err == nil || os.Geteuid() == 0 {
		return err
	}
	out, err := exec.Command("unshare", "--map-root-user", "--map-auto", "rm", "-rf", dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("remove %s: %w: %s", dir, err, out)
	}
	return nil
}

// each runs f for every caller.
func each(t *testing.T, f func(t *testing.T, w *who)) {
	t.Helper()
	eachOf(t, []string{root, mapped, single}, f)
}

// eachOf runs f for some callers, in parallel with each other. When f is done,
// all sandboxes of the caller are removed, and nothing of them may be left.
func eachOf(t *testing.T, modes []string, f func(t *testing.T, w *who)) {
	t.Helper()
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			w := theBed.whos[mode]
			if w == nil {
				t.Skip("needs root to make users")
			}
			t.Parallel()
			w.busy.Lock()
			t.Cleanup(w.busy.Unlock)
			t.Cleanup(func() {
				w.clear(t)
				w.leftovers(t)
			})
			f(t, w)
		})
	}
}

// lines splits output into its lines, without empty ones at the end.
func lines(s string) []string {
	s = strings.TrimRight(s, "\n")
	if s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func alive(pid int) bool { return !errors.Is(syscall.Kill(pid, 0), unix.ESRCH) }
