// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package policy holds the rules that the project's own source keeps, as data;
// its tests hold the tree against them. Nothing links it: it runs as part of
// the test run only, and needs no privileges.
package policy

import "strings"

// Module is the import path that every package of the project starts with.
const Module = "github.com/claude-pocket-console/cpc"

// Imports says which parts of the tree a part may import, tests included. A
// part is a top-level folder, or a folder below cmd. Each may import itself.
// ARCHITECTURE.md draws the same picture, .golangci.yml shows it in editors.
func Imports() map[string][]string {
	return map[string][]string{
		"cmd/cpc":         {"sandbox", "host", "build", "rootfs", "netns", "cgroups", "sbom", "deploy", "internal"},
		"cmd/cpc-runtime": {"runtime", "internal"},
		"cmd/cpc-scan":    {"sbom", "internal"},
		"sandbox":         {"rootfs", "netns", "cgroups", "seccomp", "deploy", "internal"},
		"host":            {"cgroups", "internal"},
		"build":           {"rootfs", "internal"},
		"runtime":         {"seccomp", "cgroups", "internal"},
		"rootfs":          {"internal"},
		"netns":           {"internal"},
		"seccomp":         {"internal"},
		"cgroups":         {"internal"},
		"sbom":            {"internal"},
		"internal":        {},
		"deploy":          {},
		"test":            {"internal", "netns", "cgroups", "seccomp"},
	}
}

// Forbidden lists import path prefixes that must not be linked into a program,
// directly or not. cpc-runtime becomes every sandbox's init and is copied into
// memory on the way: what it links costs each start.
func Forbidden() map[string][]string {
	return map[string][]string{
		"cmd/cpc-runtime": {
			Module + "/rootfs", Module + "/build", Module + "/netns", Module + "/sandbox",
			"crypto/tls", "net/http", "html/template", "text/template", "testing",
			"github.com/google/go-containerregistry", "github.com/docker", "github.com/distribution",
			"github.com/moby/buildkit", "github.com/moby/go-archive", "github.com/klauspost/compress",
			"github.com/miekg/dns", "github.com/google/nftables", "github.com/prometheus",
			"github.com/spf13/cobra", "google.golang.org/grpc", "google.golang.org/protobuf",
		},
		"cmd/cpc": {
			Module + "/runtime", Module + "/sbom/inventory", Module + "/sbom/osv", "testing",
			"github.com/google/osv-scalibr", "github.com/opencontainers/runc/libcontainer",
			"github.com/seccomp/libseccomp-golang",
		},
	}
}

// Pure lists packages that plan and do nothing else, with the packages that none of
// their files may import, tests apart: what they say can be tested and shown without
// rights, and depends on nothing but what they are given.
func Pure() map[string][]string {
	return map[string][]string{
		"build/dockerfile": {"os", "io/fs", "io/ioutil", "path/filepath", "net/http", "syscall", "golang.org/x/sys", Module + "/build/files"},
	}
}

// Untested lists packages without a test file of their own, and why.
func Untested() map[string]string {
	return map[string]string{
		"internal/changetest": "helper of other packages' tests",
		"internal/modetest":   "helper of other packages' tests",
		"runtime/reaper":      "driven as a program by runtime's tests",
		"cmd/cpc-scan":        "driven as a program by sbom/inventory's tests",
		"test/vm/socat":       "driven as a program by podman's tests",
	}
}

const (
	// LongFile is how many lines a file that is not a test may have before
	// the test run mentions it, and MaxFile before it fails.
	LongFile = 400
	MaxFile  = 450
)

// Cleanups are the calls, by the beginnings of their names, that may stand in an
// errors.Join after its first argument. Go has evaluated all arguments by the
// time that Join sees an error, so anything else there happens although what
// comes before it has failed: a file is renamed that could not be synced.
// A cleanup is to happen in any case; a check changes nothing. Calls that only
// make or tell an error (ctx.Err, errors.New, fmt.Errorf) may stand there, too.
var Cleanups = []string{
	// cleanups
	"close", "remove", "delete", "drop", "discard", "abort", "undo", "unlock", "release", "collect", "prune",
	"unmount", "wait", "kill", "stop", "destroy", "disconnect", "revert", "thaw", "sweep",
	// checks
	"check", "validate", "reachable",
	// words for people, about what was done before the failure
	"tell",
}

// Bounds are what TestShape holds the tree's rooms to. They may only become
// smaller, that of tests larger; the comments say where they are to go.
type Bounds struct {
	Methods             int // of one type
	RootfsMethods       int // of one type in rootfs
	Fields              int // of one struct that is no form: to 15
	InstructionSwitches int // type switches on instructions in build: none
	StoreWriters        int // files outside rootfs/store that rename or lock
	SandboxTests        int // lines of unit tests of sandbox, at least
}

// Shape returns the bounds of today.
func Shape() Bounds {
	return Bounds{Methods: 40, RootfsMethods: 40, Fields: 15, InstructionSwitches: 0, StoreWriters: 0, SandboxTests: 3900}
}

// IsFormPackage says whether a package holds forms only: what is asked on command lines
// and what is shown of things, with a field for each.
func IsFormPackage(dir string) bool { return dir == "cmd/cpc" || dir == "sandbox/inspect" }

// IsFormStruct says whether a struct of that name holds what somebody else asks or
// is told, one field a thing: flags, options, records, documents.
func IsFormStruct(name string) bool {
	for _, form := range []string{"options", "flags", "record", "settings", "spec", "config", "inspected", "body", "summary", "plan", "event", "facts", "fixed"} {
		if strings.HasSuffix(strings.ToLower(name), form) {
			return true
		}
	}
	return false
}
