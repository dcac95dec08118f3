// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/claude-pocket-console/cpc/internal/testkit"
)

// actions are the events of a sandbox so far.
func (w *who) actions(t *testing.T, name string) string {
	t.Helper()
	out := w.must(t, "events", "--since", "1h", "--until", "0s", "--filter", "container="+name, "--format", "{{.Action}}")
	return strings.Join(lines(out), " ")
}

func TestEventsOfALife(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		name := w.name(t)
		w.must(t, "run", "--rm", "--name", name, base, "true")
		if got := w.actions(t, name); got != "create attach start die destroy" {
			t.Errorf("a short life: %s", got)
		}
		name = w.detach(t, nil, "sleep", "60")
		w.must(t, "exec", name, "true")
		w.must(t, "stop", "-t", "0", name)
		w.must(t, "rm", name)
		// It may end by the first signal, before or after the second is sent.
		got := w.actions(t, name)
		if !regexp.MustCompile(`^create start exec_create: true exec_start: true exec_die kill (kill die|die kill|die) stop destroy$`).MatchString(got) {
			t.Errorf("a longer one: %s", got)
		}
	})
}

func TestEventsAreFollowed(t *testing.T) {
	eachOf(t, []string{root}, func(t *testing.T, w *who) {
		name := w.name(t)
		cmd := w.cpc(t, "events", "--filter", "container="+name, "--filter", "event=die", "--json")
		var out lockedBuffer
		cmd.Stdout = &out
		startBackground(t, cmd)
		testkit.Eventually(t, soon, "an event", func() bool { // it may not listen yet
			w.run(t, "run", "--rm", "--name", name, base, "sh", "-c", "exit 7")
			return strings.Contains(out.String(), "\n")
		})
		first, _, _ := strings.Cut(out.String(), "\n")
		var e struct {
			Action string
			Actor  struct{ Attributes map[string]string }
		}
		if err := json.Unmarshal([]byte(first), &e); err != nil || e.Action != "die" || e.Actor.Attributes["exitCode"] != "7" {
			t.Errorf("%s: %v", first, err)
		}
	})
}

// An update says what it changed, and whoever asked for something is named.
func TestEventsSayWhoAndWhat(t *testing.T) {
	eachOf(t, []string{root}, func(t *testing.T, w *who) {
		name := w.detach(t, []string{"--pids-limit", "40"}, "sleep", "1000")
		w.must(t, "update", "--pids-limit", "50", name)
		w.must(t, "exec", name, "true")
		w.must(t, "rm", "-f", name)
		got := w.must(t, "events", "--since", "1h", "--until", "0s", "--filter", "container="+name,
			"--format", "{{.Action}}|{{.Actor.Attributes.by}}|{{.Actor.Attributes.before}}|{{.Actor.Attributes.changed}}")
		for _, want := range []string{"create|root (uid 0)", "start|root (uid 0)", "update|root (uid 0)", "exec_start: true|root (uid 0)", "kill|root (uid 0)", "destroy|root (uid 0)"} {
			if !strings.Contains("\n"+got, "\n"+want) {
				t.Errorf("no %s in %s", want, got)
			}
		}
		if !strings.Contains(got, "|pids-limit=40|pids-limit=50\n") {
			t.Errorf("the update does not say what it changed: %s", got)
		}
	})
}

// What the limits do is told, with the victim, and on record.
func TestEventsOfLimits(t *testing.T) {
	eachOf(t, []string{root}, func(t *testing.T, w *who) {
		name := w.name(t)
		_, stderr, code := w.run(t, "run", "--name", name, "--memory", "64m", w.probeImage(t), "/probe", "memory", "200")
		if code != 137 || !strings.Contains(stderr, `out of memory at the 64 MiB limit, which "probe" used up`) {
			t.Errorf("%d: %s", code, stderr)
		}
		if got := w.inspect(t, name, ".State.OOMVictim"); !strings.HasPrefix(got, "probe (process ") {
			t.Errorf("victim: %s", got)
		}
		if got := w.actions(t, name); !strings.Contains(got, " oom") || !strings.HasSuffix(got, " die") {
			t.Errorf("events: %s", got)
		}
		name = w.detach(t, []string{"--memory", "100m", "--tmpfs", "/tmp:size=100m"}, "sh", "-c", "head -c 85m /dev/zero >/tmp/x; sleep 60")
		testkit.Eventually(t, testkit.Patience, "an event of 85 % of the memory", func() bool { return strings.Contains(w.actions(t, name), "memory-80") })
		if got := w.actions(t, name); strings.Contains(got, "memory-95") {
			t.Errorf("events: %s", got)
		}
		name = w.name(t)
		_, stderr, code = w.run(t, "run", "--name", name, "--pids-limit", "20", w.probeImage(t), "sh", "-c", "/probe forks 40; exit 4")
		if code != 4 || !strings.Contains(stderr, "the limit of 20 processes") {
			t.Errorf("%d: %s", code, stderr)
		}
		if got := w.actions(t, name); !strings.Contains(got, "pids-max") {
			t.Errorf("events: %s", got)
		}
	})
}

func TestStatsAndTop(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		name := w.detach(t, []string{"--memory", "100m", "--tmpfs", "/tmp:size=50m"}, "sh", "-c", "head -c 20m /dev/zero >/tmp/x; sleep 60")
		testkit.Eventually(t, testkit.Patience, "top shows the last command", func() bool {
			return strings.Contains(w.must(t, "top", name, "-o", "pid,args"), "sleep 60")
		})
		var row struct {
			Name, PIDs, MemUsage string
			Usage                *struct {
				Cgroup struct{ Tmpfs, MemoryLimit, Pids uint64 }
			}
		}
		testkit.Eventually(t, testkit.Patience, "the file in memory is counted", func() bool {
			out := w.must(t, "stats", "--no-stream", "--format", "json", name)
			if err := json.Unmarshal([]byte(out), &row); err != nil || row.Name != name {
				t.Fatalf("%s: %v", out, err)
			}
			return w.mode != root || row.Usage != nil && row.Usage.Cgroup.Tmpfs == 20<<20
		})
		if w.mode != root { // no cgroup here, but a row
			return
		}
		if c := row.Usage.Cgroup; c.Tmpfs != 20<<20 || c.MemoryLimit != 100<<20 || c.Pids < 1 {
			t.Errorf("%+v", c)
		}
		if _, _, code := w.run(t, "stats", "--no-stream", "nosuch"); code == 0 {
			t.Error("stats of what there is not")
		}
	})
}
