// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestIOFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "io")
	write := func(s string) {
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n254:0 rbytes=1 wbytes=2\n")
	if r, w := ioStat(file); r != 11 || w != 22 {
		t.Errorf("io.stat: %d, %d", r, w)
	}
	write("8:0 Read 10\n8:0 Write 20\n8:0 Sync 5\n8:0 Total 30\n254:0 Read 1\nTotal 31\n")
	if r, w := blkio(file); r != 11 || w != 20 {
		t.Errorf("blkio: %d, %d", r, w)
	}
}

func TestParseSome(t *testing.T) {
	for data, want := range map[string]float64{
		"some avg10=12.34 avg60=1.00 avg300=0.00 total=5\nfull avg10=99.00 avg60=0 avg300=0 total=0\n": 12.34,
		"full avg10=99.00\n": 0, "some\n": 0, "some avg10=x\n": 0, "": 0, "some avg10=-5\n": 0,
	} {
		if got := parseSome(data); got != want {
			t.Errorf("%q: %v", data, got)
		}
	}
}

func TestParseOOM(t *testing.T) {
	const line = "6,2188,9043113,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=cpc-1,mems_allowed=0," +
		"oom_memcg=/a/cpc-1,task_memcg=/a/cpc-1/x,task=NAME,pid=4711,uid=1000\n SUBSYSTEM=x\n"
	for name, want := range map[string]string{"tail": "tail", "a,pid=1,b": "a,pid=1,b", "e\x1b[m": "e", ",task=x": ",task=x"} {
		v := parseOOM(strings.Replace(line, "NAME", name, 1), "cpc-1")
		if v == nil || v.Name != want || v.PID != 4711 || !v.FromLog {
			t.Errorf("%q: %+v", name, v)
		}
	}
	for _, s := range []string{
		"", "6,1,2,-;oom-kill:", "6,1,2,-;Killed process 5 (x)", strings.Replace(line, "pid=4711", "pid=x", 1),
		strings.Replace(line, "task_memcg=/a/cpc-1/x", "task_memcg=/a/cpc-2", 1),
	} {
		if v := parseOOM(s, "cpc-1"); v != nil {
			t.Errorf("%q: %+v", s, v)
		}
	}
}

func FuzzParseOOM(f *testing.F) {
	f.Add("6,1,2,-;oom-kill:constraint=X,task_memcg=/cpc-1,task=a,pid=3,uid=0")
	f.Fuzz(func(t *testing.T, s string) {
		if v := parseOOM(s, "cpc-1"); v != nil && (len(v.Name) > 64 || strings.ContainsAny(v.Name, "\x1b\n")) {
			t.Errorf("%+v", v)
		}
	})
}

// TestLevels: each state is told once when it begins, and again after its end.
func TestLevels(t *testing.T) {
	var got []Kind
	emit := func(e Event) bool { got = append(got, e.Kind); return true }
	l := levels{told: map[Kind]time.Time{}}
	now := time.Unix(1000, 0)
	for _, percent := range []uint64{10, 79, 80, 85, 78, 81, 60, 90, 96, 96} {
		now = now.Add(time.Second)
		l.level(Event{Kind: Memory95}, percent, 95, now, emit)
		l.level(Event{Kind: Memory80}, percent, 80, now, emit)
	}
	if want := []Kind{Memory80, Memory80, Memory95}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	got = nil
	l.level(Event{Kind: Memory95}, 96, 95, now.Add(2*repeat), emit)
	if len(got) != 1 {
		t.Errorf("%v after a while", got)
	}
}

func TestThrottling(t *testing.T) {
	var got []Event
	emit := func(e Event) bool { got = append(got, e); return true }
	l := levels{cpu: t.TempDir()}
	now := time.Unix(1000, 0)
	for _, stat := range []string{
		"nr_periods 0\nnr_throttled 0\n", "nr_periods 50\nnr_throttled 10\n", "nr_periods 100\nnr_throttled 50\n",
		"nr_periods 105\nnr_throttled 55\n", // hardly ran
	} {
		if err := os.WriteFile(filepath.Join(l.cpu, "cpu.stat"), []byte(stat), 0o600); err != nil {
			t.Fatal(err)
		}
		l.look(now, emit)
		l.look(now.Add(time.Second), emit) // the window is not over
		now = now.Add(throttleWindow)
	}
	if len(got) != 1 || got[0].Kind != CPUThrottled || got[0].Used != 80 {
		t.Errorf("%+v", got)
	}
}
