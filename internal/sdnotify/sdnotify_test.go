// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package sdnotify

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

func TestSend(t *testing.T) {
	for name, address := range map[string]string{
		"path":     filepath.Join(t.TempDir(), "notify"),
		"abstract": "@cpc-test-notify-" + strconv.Itoa(os.Getpid()),
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			t.Setenv(variable, address)
			n := Take()
			if v, ok := os.LookupEnv(variable); ok {
				t.Errorf("children still see %q", v)
			}
			if err := n.Send("READY=1", "STATUS=a\nMAINPID=1"); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 100)
			got, err := l.Read(buf)
			if want := "READY=1\nSTATUS=a MAINPID=1"; err != nil || string(buf[:got]) != want {
				t.Errorf("got %q, %v; want %q", buf[:got], err, want)
			}
		})
	}
}

func TestNobodyListens(t *testing.T) {
	if err := (Notifier{}).Send("READY=1"); err != nil {
		t.Errorf("without a socket: %v", err)
	}
	t.Setenv(variable, filepath.Join(t.TempDir(), "gone"))
	if err := Take().Send("READY=1"); err == nil {
		t.Error("a socket that is not there was told")
	}
}
