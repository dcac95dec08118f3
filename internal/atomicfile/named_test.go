// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package atomicfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// text writes s.
func text(s string) func(*os.File) error { return Content([]byte(s)) }

func TestNamedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := Named(path, Options{Mode: 0o600}, text("one")); err != nil {
		t.Fatal(err)
	}
	if got := mode(t, path); got != 0o600 {
		t.Errorf("mode %v, want 0600", got)
	}
	if err := os.Chmod(path, 0o664); err != nil {
		t.Fatal(err)
	}
	if err := Named(path, Options{}, text("two")); err != nil {
		t.Fatal(err)
	}
	content(t, path, "two")
	if got := mode(t, path); got != 0o664 {
		t.Errorf("mode %v, want the one that it had", got)
	}
	broken := errors.New("broken")
	err := Named(path, Options{}, func(f *os.File) error { return errors.Join(text("half")(f), broken) })
	if !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	content(t, path, "two")
	if err := Named(filepath.Dir(path), Options{}, text("x")); !errors.Is(err, unix.EISDIR) {
		t.Errorf("a directory: %v", err)
	}
}

// Links stay, and lead to what is written: also to what is not there yet.
func TestNamedLinks(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.Mkdir(at("sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"first": "second", "second": "sub/file", "loop": "loop"} {
		if err := os.Symlink(to, at(link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []string{"new", "again"} {
		if err := Named(at("first"), Options{}, text(s)); err != nil {
			t.Fatal(err)
		}
		content(t, at("sub/file"), s)
	}
	for _, link := range []string{"first", "second"} {
		if mode(t, at(link))&fs.ModeSymlink == 0 {
			t.Errorf("%s is no link any more", link)
		}
	}
	if err := Named(at("loop"), Options{}, text("x")); !errors.Is(err, unix.ELOOP) {
		t.Errorf("a loop: %v", err)
	}
}

// A pipe is written to and stays one. The control is a file of the same name,
// which is replaced.
func TestNamedPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	got := make(chan string)
	go func() {
		data, err := os.ReadFile(path)
		got <- string(data) + errorText(err)
	}()
	if err := Named(path, Options{}, text("through")); err != nil {
		t.Fatal(err)
	}
	if s := <-got; s != "through" {
		t.Errorf("came: %q", s)
	}
	if mode(t, path)&fs.ModeNamedPipe == 0 {
		t.Error("the pipe is none any more")
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// A device stays, with its mode: one of the test's own, since a fault here would
// cost the machine its /dev/null.
func TestNamedDevice(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to make a device")
	}
	path := filepath.Join(t.TempDir(), "null")
	if err := unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))); err != nil {
		t.Fatal(err)
	}
	err := Named(path, Options{}, text("gone"))
	if errors.Is(err, fs.ErrPermission) {
		t.Skip("devices do not work in the directory for temporary files (nodev)")
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := mode(t, path); got != fs.ModeDevice|fs.ModeCharDevice|0o600 {
		t.Errorf("mode %v, want the device as it was", got)
	}
	if err := Replace(path, Options{}, text("file")); err != nil {
		t.Fatal(err)
	}
	content(t, path, "file") // which shows that the check above can fail
}

// /dev/fd/N is the descriptor, with its offset, whatever file is behind it.
func TestNamedDescriptor(t *testing.T) {
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "log"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := text("before ")(f); err != nil {
		t.Fatal(err)
	}
	if err := Named("/dev/fd/"+strconv.Itoa(int(f.Fd())), Options{}, text("after")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(f); err != nil || string(data) != "before after" {
		t.Errorf("%q %v", data, err)
	}
	if err := Named("/dev/fd/9999", Options{}, text("x")); !errors.Is(err, unix.EBADF) {
		t.Errorf("no descriptor: %v", err)
	}
}

// Where nothing can be made beside a file, the file is written in place.
func TestNamedInPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("a longer text"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := kernel()
	c.open = func(path string, _ fs.FileMode) (*os.File, error) {
		return nil, &fs.PathError{Op: "open", Path: path, Err: unix.EACCES}
	}
	if err := c.named(path, request{fill: text("short")}); err != nil {
		t.Fatal(err)
	}
	content(t, path, "short")
	if err := c.named(path+"new", request{fill: text("x")}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a new file: %v", err)
	}
}
