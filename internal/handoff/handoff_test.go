// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package handoff

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

type body struct {
	Name string   `json:"name"`
	List []string `json:"list,omitempty"`
}

const childEnv = "CPC_TEST_HANDOFF_CHILD"

// TestMain is also the child that TestReceive starts.
func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		var b body
		if err := Receive("worker", &b); err != nil {
			_, _ = os.Stdout.WriteString("error: " + err.Error())
		} else {
			_, _ = os.Stdout.WriteString("got " + b.Name)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestRoundTrip(t *testing.T) {
	var wire bytes.Buffer
	want := body{Name: "a\x00\"\u2028", List: []string{"x", ""}}
	if err := Send(&wire, "monitor", want); err != nil {
		t.Fatal(err)
	}
	var got body
	if err := decode(&wire, "monitor", &got); err != nil {
		t.Fatal(err)
	}
	if got.Name != want.Name || len(got.List) != 2 {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, c := range []struct{ name, message, want string }{
		{"another version", `{"version":2,"role":"monitor","body":{}}`, "version 2"},
		{"no version", `{"role":"monitor","body":{}}`, "version 0"},
		{"another role", `{"version":1,"role":"sweep","body":{}}`, "is for \"sweep\""},
		{"unknown field", `{"version":1,"role":"monitor","body":{"name":"x","nome":"y"}}`, "nome"},
		{"wrong type", `{"version":1,"role":"monitor","body":{"name":7}}`, "name"},
		{"no body", `{"version":1,"role":"monitor"}`, "EOF"},
		{"cut off", `{"version":1,"role":"monitor","body":{"na`, "unexpected end"},
		{"more after it", `{"version":1,"role":"monitor","body":{}} x`, "after top-level"},
		{"not json", "hello", "invalid character"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b body
			err := decode(strings.NewReader(c.message), "monitor", &b)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestDecodeNothing(t *testing.T) {
	if err := decode(strings.NewReader(""), "monitor", &body{}); !errors.Is(err, ErrNone) {
		t.Errorf("error %v, want ErrNone", err)
	}
}

func TestDecodeBounded(t *testing.T) {
	err := decode(strings.NewReader(strings.Repeat(" ", maxBytes+1)), "monitor", &body{})
	if err == nil || !strings.Contains(err.Error(), "over") {
		t.Errorf("error %v, want one about the size", err)
	}
}

func TestSendUnencodable(t *testing.T) {
	if err := Send(&bytes.Buffer{}, "monitor", func() {}); err == nil {
		t.Error("a function was sent")
	}
}

func TestReceive(t *testing.T) {
	var message bytes.Buffer
	if err := Send(&message, "worker", body{Name: "work"}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, message string
		want          string
		file          func(t *testing.T) *os.File // instead of a pipe
	}{
		{name: "pipe", message: message.String(), want: "got work"},
		{name: "nobody writes", want: "error: no message"},
		{name: "no descriptor", want: "error: no message", file: func(*testing.T) *os.File { return nil }},
		{name: "a file", want: "error: no message", file: func(t *testing.T) *os.File {
			t.Helper()
			f, err := os.Open(os.DevNull)
			if err != nil {
				t.Fatal(err)
			}
			return f
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), childEnv+"=1")
			if c.file == nil {
				r, w, err := os.Pipe()
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				if _, err := w.WriteString(c.message); err != nil {
					t.Fatal(err)
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				cmd.ExtraFiles = []*os.File{r}
			} else if f := c.file(t); f != nil {
				defer f.Close()
				cmd.ExtraFiles = []*os.File{f}
			}
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.HasPrefix(string(out), c.want) {
				t.Errorf("child said %q (%v), want %q", out, err, c.want)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"version":1,"role":"monitor","body":{"name":"x","list":["y"]}}`))
	f.Add([]byte(`{"version":1,"role":"monitor","body":null}`))
	f.Add([]byte(`{"version":1e0,"role":"monitor","body":[]}`))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, message []byte) {
		var b body
		if decode(bytes.NewReader(message), "monitor", &b) != nil {
			return
		}
		var e envelope
		if err := json.Unmarshal(message, &e); err != nil || e.Version != version || e.Role != "monitor" {
			t.Errorf("accepted %q", message)
		}
	})
}
