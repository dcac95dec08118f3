// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/claude-pocket-console/cpc/internal/notation"
)

const (
	maxProfile = 1 << 20 // bytes; docker's own is 15 KiB
	maxRules   = 10000   // name and condition pairs
	maxErrno   = 4095    // the kernel's MAX_ERRNO
	maxArgs    = 6
)

// dockerProfile is docker's JSON format.
type dockerProfile struct {
	DefaultAction    specs.LinuxSeccompAction `json:"defaultAction"`
	DefaultErrnoRet  *uint                    `json:"defaultErrnoRet"`
	Architectures    []specs.Arch             `json:"architectures"`
	ArchMap          []dockerArch             `json:"archMap"`
	Flags            []specs.LinuxSeccompFlag `json:"flags"`
	ListenerPath     string                   `json:"listenerPath"`
	ListenerMetadata string                   `json:"listenerMetadata"`
	Syscalls         []dockerRule             `json:"syscalls"`
}

type dockerArch struct {
	Architecture     specs.Arch   `json:"architecture"`
	SubArchitectures []specs.Arch `json:"subArchitectures"`
}

type dockerRule struct {
	Name     string                   `json:"name"`
	Names    []string                 `json:"names"`
	Action   specs.LinuxSeccompAction `json:"action"`
	ErrnoRet *uint                    `json:"errnoRet"`
	Args     []*dockerArg             `json:"args"`
	Comment  string                   `json:"comment"`
	Includes *dockerFilter            `json:"includes"`
	Excludes *dockerFilter            `json:"excludes"`
}

// dockerArg has pointers where a field that is left out must not be a zero.
type dockerArg struct {
	Index    *uint                      `json:"index"`
	Value    *uint64                    `json:"value"`
	ValueTwo uint64                     `json:"valueTwo"`
	Op       specs.LinuxSeccompOperator `json:"op"`
}

type dockerFilter struct {
	Caps      []string `json:"caps"`
	Arches    []string `json:"arches"`
	MinKernel string   `json:"minKernel"`
}

// FromDocker reads a profile in docker's JSON format (the argument of
// --security-opt seccomp=) and resolves what it makes depend on architecture,
// capabilities and kernel. It is strict: an unknown field, action, operator,
// flag or architecture is an error, since ignoring it could loosen the profile.
func FromDocker(r io.Reader, o Options) (*specs.LinuxSeccomp, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxProfile+1))
	if err != nil {
		return nil, fmt.Errorf("read seccomp profile: %w", err)
	}
	if len(data) > maxProfile {
		return nil, fmt.Errorf("seccomp profile: larger than %d bytes", maxProfile)
	}
	var d dockerProfile
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		return nil, fmt.Errorf("seccomp profile: %w", notation.JSON(err))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("seccomp profile: something follows the profile")
	}
	profile, err := d.resolve(o)
	if err != nil {
		return nil, fmt.Errorf("seccomp profile: %w", err)
	}
	return profile, nil
}

func (d *dockerProfile) resolve(o Options) (*specs.LinuxSeccomp, error) {
	if d.ListenerPath != "" || d.ListenerMetadata != "" {
		return nil, errors.New("listenerPath: notification is not supported")
	}
	if err := checkAction(d.DefaultAction, d.DefaultErrnoRet); err != nil {
		return nil, fmt.Errorf("defaultAction: %w", err)
	}
	for _, f := range d.Flags {
		if !slices.Contains(flags(), f) {
			return nil, fmt.Errorf("flags: unknown flag %q", f)
		}
	}
	arches, err := d.architectures(o.arch())
	if err != nil {
		return nil, err
	}
	profile := &specs.LinuxSeccomp{
		DefaultAction: d.DefaultAction, DefaultErrnoRet: d.DefaultErrnoRet,
		Architectures: arches, Flags: d.Flags,
	}
	kernel, err := kernelVersion(o.Kernel)
	if err != nil {
		return nil, err
	}
	rules := 0
	for i, rule := range d.Syscalls {
		resolved, applies, err := rule.resolve(o, kernel)
		if err != nil {
			return nil, fmt.Errorf("syscalls[%d]: %w", i, err)
		}
		if rules += len(resolved.Names) * max(1, len(resolved.Args)); rules > maxRules {
			return nil, fmt.Errorf("syscalls: more than %d rules", maxRules)
		}
		if applies {
			profile.Syscalls = append(profile.Syscalls, resolved)
		}
	}
	return profile, nil
}

// architectures chooses the entry of archMap for the machine.
func (d *dockerProfile) architectures(arch string) ([]specs.Arch, error) {
	if len(d.Architectures) > 0 && len(d.ArchMap) > 0 {
		return nil, errors.New("architectures and archMap: only one of them may be given")
	}
	all := slices.Clone(d.Architectures)
	for _, m := range d.ArchMap {
		all = append(append(all, m.Architecture), m.SubArchitectures...)
	}
	for _, a := range all {
		if !slices.Contains(knownArches(), a) {
			return nil, fmt.Errorf("unknown architecture %q", a)
		}
	}
	if len(d.ArchMap) == 0 {
		return d.Architectures, nil
	}
	native := architectures(arch)
	for _, m := range d.ArchMap {
		if len(native) > 0 && m.Architecture == native[0] {
			return append([]specs.Arch{m.Architecture}, m.SubArchitectures...), nil
		}
	}
	return nil, nil // the native one only
}

// resolve checks a rule, and says whether it applies here.
func (r *dockerRule) resolve(o Options, kernel [2]uint64) (specs.LinuxSyscall, bool, error) {
	out := specs.LinuxSyscall{Names: r.Names, Action: r.Action, ErrnoRet: r.ErrnoRet}
	if r.Name != "" {
		if len(r.Names) > 0 {
			return out, false, errors.New("name and names: only one of them may be given")
		}
		out.Names = []string{r.Name}
	}
	if len(out.Names) == 0 {
		return out, false, errors.New("names: empty")
	}
	for _, name := range out.Names {
		if !validName(name) {
			return out, false, fmt.Errorf("names: %q is no system call", name)
		}
	}
	if err := checkAction(r.Action, r.ErrnoRet); err != nil {
		return out, false, fmt.Errorf("action: %w", err)
	}
	if len(r.Args) > maxArgs {
		return out, false, fmt.Errorf("args: more than %d conditions", maxArgs)
	}
	for _, a := range r.Args {
		arg, err := a.resolve()
		if err != nil {
			return out, false, fmt.Errorf("args: %w", err)
		}
		out.Args = append(out.Args, arg)
	}
	included, err := r.Includes.included(o, kernel)
	if err != nil {
		return out, false, fmt.Errorf("includes: %w", err)
	}
	excluded, err := r.Excludes.excluded(o, kernel)
	if err != nil {
		return out, false, fmt.Errorf("excludes: %w", err)
	}
	return out, included && !excluded, nil
}

func (a *dockerArg) resolve() (specs.LinuxSeccompArg, error) {
	switch {
	case a == nil || a.Index == nil || a.Value == nil:
		return specs.LinuxSeccompArg{}, errors.New("index and value are required")
	case *a.Index >= maxArgs:
		return specs.LinuxSeccompArg{}, fmt.Errorf("index %d: a call has %d arguments", *a.Index, maxArgs)
	case !slices.Contains(operators(), a.Op):
		return specs.LinuxSeccompArg{}, fmt.Errorf("unknown operator %q", a.Op)
	}
	return specs.LinuxSeccompArg{Index: *a.Index, Value: *a.Value, ValueTwo: a.ValueTwo, Op: a.Op}, nil
}

// included: all conditions that are given must hold, and all capabilities.
func (f *dockerFilter) included(o Options, kernel [2]uint64) (bool, error) {
	if f == nil {
		return true, nil
	}
	newer, err := f.newerKernel(kernel)
	if err != nil {
		return false, err
	}
	ok := newer && (len(f.Arches) == 0 || slices.Contains(f.Arches, dockerArchName(o.arch())))
	for _, c := range f.Caps {
		ok = ok && slices.Contains(o.Caps, c)
	}
	return ok, nil
}

// excluded: one condition that holds is enough, and one capability.
func (f *dockerFilter) excluded(o Options, kernel [2]uint64) (bool, error) {
	if f == nil {
		return false, nil
	}
	newer, err := f.newerKernel(kernel)
	if err != nil {
		return false, err
	}
	yes := f.MinKernel != "" && newer || slices.Contains(f.Arches, dockerArchName(o.arch()))
	for _, c := range f.Caps {
		yes = yes || slices.Contains(o.Caps, c)
	}
	return yes, nil
}

func (f *dockerFilter) newerKernel(kernel [2]uint64) (bool, error) {
	if f.MinKernel == "" {
		return true, nil
	}
	wanted, err := parseKernel(f.MinKernel)
	if err != nil {
		return false, fmt.Errorf("minKernel: %w", err)
	}
	return slices.Compare(kernel[:], wanted[:]) >= 0, nil
}

// dockerArchName is docker's word for a GOARCH.
func dockerArchName(goarch string) string {
	if goarch == "386" {
		return "x86"
	}
	return goarch
}
