// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/atomicfile"
)

// A Reason names why a process is started by libcontainer's own init, the long way,
// and not by a plan and package enter's. It is logged, and state tells that of a
// container's first process.
type Reason string

// The reasons.
const (
	ReasonAsked        Reason = "asked"             // by CPC_RUNTIME_LONG_WAY
	ReasonCapabilities Reason = "capabilities"      // none given, or one that libcontainer does not know
	ReasonCgroupMount  Reason = "cgroup-mount"      // of cgroup v1 in a form that is rare
	ReasonDebug        Reason = "debug"             // libcontainer's init says more
	ReasonDescriptors  Reason = "descriptors"       // are passed
	ReasonDevice       Reason = "device"            // a fifo, or a path to be cleaned
	ReasonDirectory    Reason = "working-directory" // with ".."
	ReasonEnvironment  Reason = "environment"       // not NAME=VALUE
	ReasonField        Reason = "rare-field"        // of the container or the process
	ReasonFileSystem   Reason = "file-system"       // not one of those that a sandbox has
	ReasonGroups       Reason = "groups"            // of a container made by an ordinary user
	ReasonHooks        Reason = "hooks"             // that init runs: createContainer, startContainer
	ReasonIDMappings   Reason = "id-mappings"       // that want newuidmap(1)
	ReasonIDMount      Reason = "idmapped-mount"    //
	ReasonKernel       Reason = "kernel"            // before Linux 5.12
	ReasonLabel        Reason = "selinux-label"     //
	ReasonMasked       Reason = "masked-path"       // to be cleaned
	ReasonMountFlags   Reason = "mount-flags"       // without a mount attribute
	ReasonMountPath    Reason = "mount-path"        // to be cleaned, or a source that is relative
	ReasonNamespace    Reason = "namespace"         // joined or absent one that changes the order of things
	ReasonNoPivot      Reason = "no-pivot"          //
	ReasonNotify       Reason = "notify-socket"     // of a service manager
	ReasonPaused       Reason = "paused"            // or perhaps
	ReasonPidfd        Reason = "pidfd-socket"      //
	ReasonPlanFailed   Reason = "plan-failed"       // the plan was tried: a defect, should libcontainer succeed
	ReasonProcfs       Reason = "procfs"            // not once, or not at /proc
	ReasonState        Reason = "state"             // of the container is not as expected
	ReasonSubCgroup    Reason = "sub-cgroup"        //
)

// Reasons are all that there are, in order.
func Reasons() []Reason {
	return []Reason{
		ReasonAsked, ReasonCapabilities, ReasonCgroupMount, ReasonDebug, ReasonDescriptors, ReasonDevice, ReasonDirectory,
		ReasonEnvironment, ReasonField, ReasonFileSystem, ReasonGroups, ReasonHooks, ReasonIDMappings, ReasonIDMount,
		ReasonKernel, ReasonLabel, ReasonMasked, ReasonMountFlags, ReasonMountPath, ReasonNamespace, ReasonNoPivot,
		ReasonNotify, ReasonPaused, ReasonPidfd, ReasonPlanFailed, ReasonProcfs, ReasonState, ReasonSubCgroup,
	}
}

// longWayError says that the process needs something that only libcontainer does.
type longWayError struct {
	reason Reason
	cause  error // of ReasonPlanFailed
}

func because(r Reason) error { return longWayError{reason: r} }

// Error implements error.
func (e longWayError) Error() string {
	text := "only libcontainer does this: " + string(e.reason)
	if e.cause != nil {
		text += ": " + e.cause.Error()
	}
	return text
}

// Unwrap implements what errors.As needs.
func (e longWayError) Unwrap() error { return e.cause }

// reasonOf is why an error leads the long way. One that was not expected to is a
// plan's that failed.
func reasonOf(err error) Reason {
	if e, ok := errors.AsType[longWayError](err); ok {
		return e.reason
	}
	return ReasonPlanFailed
}

// tookLongWay logs, counts and keeps why a container was started the long way.
func (m *making) tookLongWay(why error) error {
	m.runtime.countLongWay("start "+m.id, why)
	i, err := m.runtime.states().readIntent(m.id)
	if err != nil {
		return err
	}
	i.LongWay = reasonOf(why)
	data, err := json.Marshal(i)
	if err != nil {
		return err
	}
	path := filepath.Join(m.runtime.Root, m.id, intentFile)
	return atomicfile.Replace(path, atomicfile.Options{Volatile: true}, atomicfile.Content(data))
}

// longWayOf is why this container was started the long way; "" if it was not.
func (d states) longWayOf(id string) Reason {
	i, err := d.readIntent(id)
	if err != nil {
		return "" // a container made by another version
	}
	return i.LongWay
}

// longWayFile in ROOT has a line for each process that went the long way, which
// says why. No container's name has an @.
const (
	longWayFile = "@longway"
	maxLongWays = 1 << 20 // bytes; after that, nothing is counted
)

// countLongWay logs and counts a process that libcontainer has started. A plan
// that failed where libcontainer succeeds is a defect.
func (r Runtime) countLongWay(what string, why error) {
	reason, log := reasonOf(why), logrus.Debugf
	if reason == ReasonPlanFailed {
		log = logrus.Warnf
	}
	log("%s: %v", what, why)
	if r.TellLongWay {
		logrus.WithField("longWay", reason).Info(what)
	}
	if reason == ReasonAsked || reason == ReasonDebug {
		return
	}
	f, err := os.OpenFile(filepath.Join(r.Root, longWayFile), os.O_CREATE|os.O_WRONLY|os.O_APPEND|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return // it is a count, and no more
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Size() < maxLongWays {
		_, _ = fmt.Fprintln(f, reason) // likewise
	}
}

// LongWays is how many processes went the long way for each reason, as REASON=N,
// of all containers in this state directory that there have been.
func (r Runtime) LongWays() []string {
	data, err := readKept(filepath.Join(r.Root, longWayFile))
	if err != nil {
		return nil
	}
	var counts []string
	seen := map[string]int{}
	for line := range strings.Lines(string(data)) {
		seen[strings.TrimSpace(line)]++
	}
	for _, reason := range Reasons() {
		if n := seen[string(reason)]; n > 0 {
			counts = append(counts, fmt.Sprintf("%s=%d", reason, n))
		}
	}
	return counts
}

// reasonList is for the features document.
func reasonList() string {
	var names []string
	for _, r := range Reasons() {
		names = append(names, string(r))
	}
	return strings.Join(names, " ")
}
