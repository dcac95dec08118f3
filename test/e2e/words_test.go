// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/claude-pocket-console/cpc/internal/testkit"
)

// owned is what others would write to a terminal: its title, colours, a cleared
// screen in eight bits, text from right to left, and nothing to see.
const owned = "\x1b]0;owned\x07\x1b[31m\u009b2J\u202egnp.exe\u202c\u200b\u2066x\u2069"

// forged would begin a line of its own, as if cpc had said it.
const forged = "forged: run this"

// harmless checks that a terminal can only show what cpc has said.
func harmless(t *testing.T, what, said string) {
	t.Helper()
	bad := strings.IndexFunc(said, func(r rune) bool {
		return unicode.IsControl(r) && r != '\n' && r != '\t' || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)
	})
	if bad >= 0 || !utf8.ValidString(said) {
		t.Errorf("%s says %q", what, said[max(0, bad-40):min(len(said), max(bad, 0)+60)])
	}
}

// Whatever images, sandboxes, files, arguments and registries are called and say,
// the terminal of the one who looks obeys none of it.
func TestOthersWords(t *testing.T) {
	eachOf(t, []string{root, mapped}, func(t *testing.T, w *who) {
		dir, err := os.MkdirTemp(w.home, "words-") //nolint:usetesting // where the caller can go
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		command, err := json.Marshal([]string{"no" + owned + "such"})
		if err != nil {
			t.Fatal(err)
		}
		octal := strings.NewReplacer("\x1b", `\033`, "\x07", `\007`).Replace(owned)
		w.file(t, dir, "good", "FROM debian:trixie-slim\nLABEL evil=\"v"+owned+"\" \"k"+owned+"\"=x\nENV EVIL=\"e"+owned+"\"\n"+
			"RUN printf 'says "+octal+"\\n'\nCMD "+string(command)+"\n")
		w.file(t, dir, "fails", "FROM debian:trixie-slim\nRUN : "+owned+"; exit 3\n")
		w.file(t, dir, "missing", "FROM debian:trixie-slim\nCOPY no"+owned+"file /\n")
		w.file(t, dir, "wrong", "FROM debian:trixie-slim\nWRONG"+owned+" x\n")
		t.Cleanup(func() { w.run(t, "rmi", "words/evil") })
		said := func(args ...string) string {
			t.Helper()
			stdout, stderr, _ := w.run(t, args...)
			harmless(t, strings.Join(args[:1], " "), stdout)
			harmless(t, strings.Join(args[:1], " "), stderr)
			if strings.Contains("\n"+stdout+"\n"+stderr, "\n"+forged) {
				t.Errorf("%s has a line of others: %s%s", args[0], stdout, stderr)
			}
			return stdout + stderr
		}
		if out := said("build", "--progress", "plain", "-t", "words/evil", "-f", dir+"/good", dir); !strings.Contains(out, "says gnp.exex") {
			t.Errorf("build: %s", out)
		}
		said("build", "--progress", "rawjson", "--no-cache", "-f", dir+"/fails", dir)
		for _, f := range []string{"fails", "missing", "wrong"} {
			said("build", "--progress", "plain", "-f", dir+"/"+f, dir)
		}
		said("build", "--check", "-f", dir+"/wrong", dir)
		for _, args := range [][]string{
			{"images"},
			{"images", "--filter", "label=" + owned},
			{"history", "words/evil"},
			{"history", "--no-trunc", "words/evil"},
			{"inspect", "words/evil"},
			{"inspect", "-f", "{{.Config.Labels}} {{.Config.Env}}", "words/evil"},
			{"inspect", "-f", "{{json .Config}}", "words/evil"},
			{"inspect", owned},
			{"rmi", owned},
			{"tag", owned, "x"},
			{"pull", owned},
			{"run", "--rm", "words/evil"},
			{"run", "--rm", "-w", "/no" + owned, "words/evil", "true"},
			{"run", "--rm", "--user", "no" + owned, "words/evil", "true"},
			{"run", "--rm", "--" + owned},
			{owned},
			{"save", "-o", dir + "/no" + owned + "dir/f", "words/evil"},
			{"load", "-i", dir + "/no" + owned},
			{"load", "-i", dir + "/no\n" + forged},
			{"pull", "localhost/a\n" + forged},
			{"run", "--rm", "-w", "/no\n" + forged, "words/evil", "true"},
			{"run", "--rm", "words/evil", "no\n" + forged},
			{"setup", "--dry-run", "--user", "no" + owned + "\n" + forged},
			{"doctor"},
			{"doctor", "--json"},
			{"import", dir + "/no" + owned, "x"},
			{"sbom", owned},
			{"scan", owned},
			{"logs", owned},
			{"stop", owned},
			{"net", "test", owned},
			{"login", owned},
		} {
			said(args...)
		}
		w.sandboxWords(t, said)
		registryWords(t, said)
	})
}

// file writes a file for the caller.
func (w *who) file(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil { //nolint:gosec // the caller reads it
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil { //nolint:gosec // the caller writes there
		t.Fatal(err)
	}
}

// sandboxWords are those of a sandbox that runs: its labels, arguments, processes
// and environment.
func (w *who) sandboxWords(t *testing.T, said func(...string) string) {
	t.Helper()
	id := w.detach(t, []string{"--label", "l=" + owned, "--env", "E=" + owned}, "sh", "-c",
		"printf '%s\\n' \"$0\"; sh -c 'sleep 100; true' \"$0\"", owned)
	w.run(t, "exec", id, "no"+owned+"such")
	// A name is asked for, and refused; it is in the network's log.
	w.run(t, "exec", id, "getent", "hosts", "a\u202eb\n"+forged+".example.com")
	testkit.Eventually(t, soon, "output", func() bool { out, _, _ := w.run(t, "logs", id); return strings.Contains(out, "\n") })
	// The control: what a program writes comes as it is.
	if out, _, _ := w.run(t, "logs", id); !strings.Contains(out, owned) {
		t.Errorf("logs: %q, want what the program wrote", out)
	}
	for _, args := range [][]string{
		{"ps"},
		{"ps", "--no-trunc"},
		{"ps", "--format", "{{.Labels}} {{.Command}}"},
		{"ps", "--format", "json"},
		{"ps", "--json"},
		{"ps", "--format", "table {{.Command}}\t{{.Labels}}"},
		{"top", id},
		{"inspect", id},
		{"inspect", "-f", "{{.Config}}", id},
		{"events", "--since", "1h", "--until", "0s"},
		{"events", "--since", "1h", "--until", "0s", "--format", "{{.Action}} {{.Actor}}"},
		{"events", "--since", "1h", "--until", "0s", "--json"},
		{"exec", id, "no" + owned + "such"},
		{"exec", "-w", "/no" + owned, id, "true"},
		{"stats", "--no-stream", id},
		{"net", "show", id},
		{"net", "log", id},
		{"net", "log", "--json", id},
		{"system", "df"},
		{"update", "--memory", owned, id},
	} {
		said(args...)
	}
	var list []map[string]any
	if out, _, _ := w.run(t, "inspect", id); json.Unmarshal([]byte(out), &list) != nil || !strings.Contains(fmt.Sprint(list), owned) {
		t.Errorf("inspect: its JSON means something else than the label: %s", out)
	}
	w.must(t, "rm", "-f", id)
}

// registryWords are those of a registry's answers, which have no end either.
func registryWords(t *testing.T, said func(...string) string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}
		raw, err := json.Marshal(map[string]any{"errors": []any{map[string]any{
			"code": "DENIED" + owned, "message": owned + "\n" + forged + "\r\n" + strings.Repeat("very long ", 5000), "detail": owned,
		}}})
		if err != nil {
			t.Error(err)
		}
		rw.WriteHeader(http.StatusBadRequest)
		_, _ = rw.Write(raw)
	}))
	defer server.Close()
	at := strings.Replace(strings.TrimPrefix(server.URL, "http://"), "127.0.0.1", "localhost", 1)
	said("tag", "words/evil", at+"/a/b:1")
	said("push", at+"/a/b:1")
	said("rmi", at+"/a/b:1")
	for _, args := range [][]string{
		{"pull", at + "/a/b:1"}, {"run", "--rm", at + "/a/b:1"}, {"search", at + "/a/b"}, {"referrers", at + "/a/b:1"},
	} {
		if out := said(args...); len(out) > 1500 || args[0] != "referrers" && !strings.Contains(out, "DENIED") {
			t.Errorf("%s: %d bytes: %.600s", args[0], len(out), out)
		}
	}
}
