// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// base is the name of the Debian image that every caller has.
const base = "debian:trixie-slim"

// commandTimeout ends a command that hangs; its test fails.
const commandTimeout = 90 * time.Second

// who is a caller of cpc.
type who struct {
	mode     string // root, mapped or single
	uid, gid int
	home     string
	data     string // CPC_DATA_DIR
	state    string // CPC_STATE_DIR
	bin      string // path of cpc

	ids  *idWatch
	busy sync.Mutex // held by the test that this caller is in

	baseOnce, probeOnce sync.Once
	baseErr, probeErr   error
}

func (b *bed) newWho(mode string, uid, gid int) (*who, error) {
	home := filepath.Join(b.dir, mode)
	w := &who{
		mode: mode, uid: uid, gid: gid, home: home,
		data: filepath.Join(home, "data"), state: filepath.Join(home, "state"), bin: filepath.Join(b.dir, "bin/cpc"),
	}
	for _, dir := range []string{home, w.data, w.state, filepath.Join(home, "run"), filepath.Join(w.state, "sandboxes"), filepath.Join(w.state, "steps")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, err
		}
		if err := os.Chown(dir, uid, gid); err != nil {
			return nil, err
		}
	}
	var err error
	w.ids, err = watchIDs(filepath.Join(w.state, "sandboxes"), filepath.Join(w.state, "steps"))
	return w, err
}

// env is a clean environment.
func (w *who) env() []string {
	e := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + w.home, "LANG=C.UTF-8",
		"XDG_RUNTIME_DIR=" + w.home + "/run", "CPC_DATA_DIR=" + w.data, "CPC_STATE_DIR=" + w.state, "TERM=xterm",
	}
	if w.mode != root {
		e = append(e, "CPC_LIMITS=best-effort")
	}
	return e
}

// command prepares any program to run as this caller.
func (w *who) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Env, cmd.Dir = w.env(), w.home
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if os.Geteuid() == 0 && w.uid != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(w.uid), Gid: uint32(w.gid)}
	}
	return cmd
}

// cpc prepares a cpc command. The base image is there when it starts.
func (w *who) cpc(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	w.baseOnce.Do(func() { w.baseErr = w.importBase() })
	if w.baseErr != nil {
		t.Fatal(w.baseErr)
	}
	return w.command(w.bin, args...)
}

func (w *who) importBase() error {
	tar, err := os.Open(theBed.baseTar)
	if err != nil {
		return err
	}
	defer tar.Close()
	cmd := w.command(w.bin, "import", "-", base)
	cmd.Stdin = tar
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("import the base image: %w: %s", err, out)
	}
	return nil
}

// result is how a command ended.
type result struct {
	stdout, stderr string
	code           int
}

// finish runs a prepared command to its end.
func finish(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if cmd.Stdout == nil {
		cmd.Stdout = &stdout
	}
	if cmd.Stderr == nil {
		cmd.Stderr = &stderr
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout) //nolint:usetesting // t.Context ends before the cleanups
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	err := cmd.Wait()
	if !stop() {
		t.Fatalf("cpc %s: not done after %v\n%s%s", strings.Join(cmd.Args[1:], " "), commandTimeout, &stdout, &stderr)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{stdout.String(), stderr.String(), exitCode(cmd)}
}

// exitCode is negative when a signal ended the command.
func exitCode(cmd *exec.Cmd) int {
	if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		return -int(s.Signal())
	}
	return cmd.ProcessState.ExitCode()
}

// run runs cpc. The code is negative when a signal ended cpc itself.
func (w *who) run(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	r := finish(t, w.cpc(t, args...))
	return r.stdout, r.stderr, r.code
}

// must runs cpc, which must succeed, and returns its standard output.
func (w *who) must(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, code := w.run(t, args...)
	if code != 0 {
		t.Fatalf("cpc %s: exit status %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout
}

// in runs a shell script in a new sandbox of the base image, with options, and
// returns its output.
func (w *who) in(t *testing.T, script string, options ...string) string {
	t.Helper()
	args := append([]string{"run", "--rm"}, options...)
	return w.must(t, append(args, base, "sh", "-c", script)...)
}

// detach starts a sandbox in the background and returns its name.
func (w *who) detach(t *testing.T, options []string, program ...string) string {
	t.Helper()
	name := w.name(t)
	args := append([]string{"run", "-d", "--name", name}, options...)
	w.must(t, append(append(args, base), program...)...)
	return name
}

// name returns a name for a sandbox that no other test uses, and another one
// each time.
func (w *who) name(t *testing.T) string {
	t.Helper()
	clean := regexp.MustCompile(`[^a-zA-Z0-9_.-]+`).ReplaceAllString(t.Name(), "-")
	return clean + "-" + strconv.FormatInt(time.Now().UnixNano()%1e9, 36)
}

// inspect returns one field of a sandbox, by a Go template such as .State.Pid.
func (w *who) inspect(t *testing.T, name, field string) string {
	t.Helper()
	return strings.TrimSpace(w.must(t, "inspect", "--format", "{{"+field+"}}", name))
}

// probeImage returns an image that has testdata/probe as /probe, statically
// linked.
func (w *who) probeImage(t *testing.T) string {
	t.Helper()
	w.probeOnce.Do(func() { w.probeErr = w.buildProbe(t) })
	if w.probeErr != nil {
		t.Fatal(w.probeErr)
	}
	return "cpc-e2e/probe:latest"
}

func (w *who) buildProbe(t *testing.T) error {
	t.Helper()
	program, err := theBed.probe()
	if err != nil {
		return err
	}
	dir := filepath.Join(w.home, "probe-image")
	dockerfile := "FROM " + base + "\nCOPY --chmod=0755 probe /probe\n"
	if err := errors.Join(os.Mkdir(dir, 0o755), //nolint:gosec // a build context
		os.WriteFile(filepath.Join(dir, "probe"), program, 0o644),                 //nolint:gosec // a build context
		os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o644), //nolint:gosec // a build context
	); err != nil {
		return err
	}
	stdout, stderr, code := w.run(t, "build", "-t", "cpc-e2e/probe:latest", dir)
	if code != 0 {
		return fmt.Errorf("build the probe's image: exit status %d\n%s%s", code, stdout, stderr)
	}
	return nil
}

// probe builds the probe, once for all callers, or takes CPC_E2E_PROBE.
func (b *bed) probe() ([]byte, error) {
	b.probeOnce.Do(func() {
		if built := os.Getenv("CPC_E2E_PROBE"); built != "" {
			b.probeData, b.probeErr = os.ReadFile(filepath.Clean(built))
			return
		}
		file := filepath.Join(b.dir, "probe")
		cmd := exec.Command("../../scripts/go", "build", "-buildvcs=false", "-trimpath", "-o", file, "./testdata/probe")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		out, err := cmd.CombinedOutput()
		if err != nil {
			b.probeErr = fmt.Errorf("build the probe: %w: %s", err, out)
			return
		}
		b.probeData, b.probeErr = os.ReadFile(file)
	})
	return b.probeData, b.probeErr
}

// lockedBuffer takes a command's output while a test reads it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
