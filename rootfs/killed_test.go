// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/modetest"
)

const (
	envKilledOp  = "CPC_TEST_KILLED_OP"
	envKilledArg = "CPC_TEST_KILLED_ARG"
)

// killedOps are what TestKilledAnywhere interrupts: each changes a store that
// has the images a:1 and b:1.
func killedOps() map[string]func(ctx context.Context, s *Store, arg string) error {
	return map[string]func(ctx context.Context, s *Store, arg string) error{
		"pull": func(ctx context.Context, s *Store, arg string) error {
			_, err := s.Pull(ctx, arg, PullOptions{Unpack: true})
			return err
		},
		"load": func(ctx context.Context, s *Store, arg string) error {
			f, err := os.Open(arg)
			if err == nil {
				_, err = s.Load(ctx, f, LoadOptions{})
			}
			return err
		},
		"commit": commitSomething,
		"tag":    func(ctx context.Context, s *Store, _ string) error { return s.Tag(ctx, "a:1", "c:1") },
		"rmi": func(ctx context.Context, s *Store, _ string) error {
			_, err := s.Remove(ctx, "a:1")
			return err
		},
		"prune": func(ctx context.Context, s *Store, _ string) error {
			_, _, err := s.Prune(ctx, true, nil)
			return err
		},
	}
}

func commitSomething(ctx context.Context, s *Store, _ string) error {
	base, err := s.Image(ctx, "a:1")
	if err != nil {
		return err
	}
	scratch, err := s.NewScratch("victim")
	if err != nil {
		return err
	}
	upper := filepath.Join(scratch, "upper")
	err = errors.Join(os.Mkdir(upper, 0o755), os.WriteFile(filepath.Join(upper, "new"), []byte(noise(1<<20)), 0o600))
	if err != nil {
		return err
	}
	l, err := s.CommitUpper(ctx, upper)
	if err == nil {
		_, err = s.PutImage(ctx, base.Config, append(base.LayerDescriptors(), l), []string{"c:1"})
	}
	return errors.Join(err, s.RemoveScratch("victim"), s.Close())
}

// TestKilledVictim is the process that TestKilledAnywhere kills. It waits for
// its standard input to close, so that the time is that of the work.
func TestKilledVictim(t *testing.T) {
	op := os.Getenv(envKilledOp)
	if op == "" {
		t.Skip("runs as a process of TestKilledAnywhere only")
	}
	_, _ = os.Stdout.WriteString("ready\n")
	_, _ = os.Stdin.Read(make([]byte, 1))
	s, err := Open(Options{Dir: os.Getenv(envCrashDir), Mapping: idmap.ForSingle()})
	if err != nil {
		t.Fatal(err)
	}
	do, ok := killedOps()[op]
	if !ok {
		do = keepingOps()[op]
	}
	if err := do(t.Context(), s, os.Getenv(envKilledArg)); err != nil {
		t.Fatal(err)
	}
}

// killedState makes a store with a:1, b:1 and an image without a name.
func killedState(t modetest.T) *Store {
	t.Helper()
	s := openStore(t, t.Mapping)
	killedImages(t, s)
	return s
}

func killedImages(t modetest.T, s *Store) {
	t.Helper()
	importTar(t, s, "b:1", entry{name: "b", content: "nameless"})
	importTar(t, s, "b:1", entry{name: "b", content: "b"})
	importTar(t, s, "a:1", entry{name: "a", content: "a"})
}

// TestKilledAnywhere kills what changes a store at many points. Each time the
// store is consistent, has the images from before or those from after, and
// nothing stays that is of no use.
func TestKilledAnywhere(t *testing.T) {
	for op := range killedOps() {
		t.Run(op, func(t *testing.T) {
			single(t, func(t modetest.T, s *Store) {
				arg := killedArg(t, s, op)
				whole := killedState(t)
				before := imageNames(t, whole)
				took := runKilled(t, whole, []string{op, arg}, 0)
				after := imageNames(t, whole)
				if slices.Equal(before, after) {
					t.Fatalf("undisturbed, it changes nothing: %v", after)
				}
				const points = 24
				seen := map[string]int{}
				for i := range points {
					s := killedState(t)
					runKilled(t, s, []string{op, arg}, max(time.Microsecond, took*time.Duration(i)/(points-4)))
					seen[strings.Join(killedCheck(t, s, before, after), " ")]++
				}
				t.Logf("%s takes %v; killed at %d points it leaves %v", op, took, points, seen)
			})
		})
	}
}

func killedArg(t modetest.T, s *Store, op string) string {
	t.Helper()
	switch op {
	case "pull":
		ref := serve(t, nil) + "/c:1"
		img := makeImage(t, ociKind, goruntime.GOARCH, tarOf(t, entry{name: "x", content: noise(1 << 20)}), tarOf(t, entry{name: "y"}))
		push(t, ref, func(r name.Reference) error { return remote.Write(r, img) })
		return ref
	case "load":
		importTar(t, s, "c:1", entry{name: "x", content: noise(1 << 20)})
		file := filepath.Join(t.TempDir(), "archive")
		mustWrite(t, file, string(save(t, s, DockerArchive, "c:1")))
		return file
	}
	return ""
}

// runKilled runs an operation in a process of its own and kills it after that
// time; never, if it is zero. It returns how long it took.
func runKilled(t modetest.T, s *Store, op []string, after time.Duration) time.Duration {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestKilledVictim$")
	cmd.Env = append(os.Environ(), envCrashDir+"="+s.Options().Dir, envKilledOp+"="+op[0], envKilledArg+"="+op[1])
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if after > 0 {
		time.Sleep(after)
		_ = cmd.Process.Kill()
	}
	if err := cmd.Wait(); err != nil && after == 0 {
		t.Fatalf("%s undisturbed: %v", op[0], err)
	}
	return time.Since(began)
}

func imageNames(t modetest.T, s *Store) []string {
	t.Helper()
	images, err := s.Images(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, img := range images {
		layersOf(t, s, img) // complete
		for _, n := range img.Names {
			names = append(names, n[strings.LastIndexByte(n, '/')+1:])
		}
		if len(img.Names) == 0 {
			names = append(names, "<none>")
		}
	}
	slices.Sort(names)
	return names
}

// killedCheck looks at a store whose user was killed.
func killedCheck(t modetest.T, s *Store, before, after []string) []string {
	t.Helper()
	s, err := Open(s.Options())
	if err != nil {
		t.Fatal(err)
	}
	found, err := s.Check(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if f.Problem != "nothing refers to it" && f.Problem != "left half removed" {
			t.Errorf("damaged: %+v", f)
		}
	}
	names := imageNames(t, s)
	if !slices.Equal(names, before) && !slices.Equal(names, after) {
		t.Errorf("images are %v, want %v or %v", names, before, after)
	}
	if err := errors.Join(s.RemoveScratch("victim"), s.Collect(t.Context())); err != nil {
		t.Error(err)
	}
	if found, err := s.Check(t.Context(), false); err != nil || len(found) != 0 {
		t.Errorf("after a collection: %+v %v", found, err)
	}
	if left, err := os.ReadDir(s.path("tmp")); err != nil || len(left) != 0 {
		t.Errorf("left: %v %v", left, err)
	}
	return names
}
