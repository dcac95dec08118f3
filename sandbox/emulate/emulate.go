// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package emulate lets sandboxes, and steps of a build, run programs of another
// architecture, through qemu's user emulation.
//
// Theory of operation. Since Linux 6.7 every user namespace can have a
// binfmt_misc of its own, and a program is looked up in that of the nearest
// user namespace that has one. An ordinary user's builder, or monitor, is the root of U0: it
// mounts one there and registers qemu, by a file that the kernel keeps open
// (flag F), so that the step needs no qemu in its root. The sandboxes below
// see it; the host does not, and it goes with the builder's mount namespace. As
// root there is no U0, and with an older kernel no such mount: then the host's
// own registration is what counts, and without one the error says how to make it.
package emulate

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/idmap"
)

// miscDir is where binfmt_misc is mounted by convention.
const miscDir = "/proc/sys/fs/binfmt_misc"

// machine is how programs of an architecture are told, and what runs them.
type machine struct {
	qemu string // the name in qemu-NAME
	wide bool   // 64 bits
	big  bool   // most significant byte first
	id   uint16 // e_machine, from elf.h
}

// machines are the architectures by Go's names.
func machines() map[string]machine {
	return map[string]machine{
		"386":      {"i386", false, false, uint16(elf.EM_386)},
		"amd64":    {"x86_64", true, false, uint16(elf.EM_X86_64)},
		"arm":      {"arm", false, false, uint16(elf.EM_ARM)},
		"arm64":    {"aarch64", true, false, uint16(elf.EM_AARCH64)},
		"loong64":  {"loongarch64", true, false, uint16(elf.EM_LOONGARCH)},
		"mips64le": {"mips64el", true, false, uint16(elf.EM_MIPS)},
		"ppc64le":  {"ppc64le", true, false, uint16(elf.EM_PPC64)},
		"riscv64":  {"riscv64", true, false, uint16(elf.EM_RISCV)},
		"s390x":    {"s390x", true, true, uint16(elf.EM_S390)},
	}
}

// Native reports whether programs of the architecture run here by themselves.
func Native(arch string) bool {
	return arch == "" || arch == goruntime.GOARCH || goruntime.GOARCH == "amd64" && arch == "386"
}

// Enable makes programs of the architecture run in sandboxes that this process
// starts from now on.
//
// Preconditions: the caller is the root of U0 in its own mount namespace, or
// the host's root.
func Enable(mode idmap.Mode, arch string) error {
	m, ok := machines()[arch]
	if !ok {
		return fmt.Errorf("emulate %s: qemu has no emulation of it that cpc knows", arch)
	}
	var own error
	if mode != idmap.Root {
		if own = m.register(); own == nil {
			return nil
		}
	}
	if m.registered() {
		return nil
	}
	why := "as root there is no user namespace of its own to register it in"
	if own != nil {
		why = own.Error()
	}
	return fmt.Errorf("emulate %s: %s, and this machine has not registered qemu-%s: %s", arch, why, m.qemu, m.advice(own))
}

func (m machine) advice(own error) string {
	if errors.Is(own, exec.ErrNotFound) {
		return "install qemu's user emulation: sudo apt-get install qemu-user-static (it also registers it)"
	}
	return "as root, apt-get install qemu-user-static binfmt-support; or do it as an ordinary user on Linux 6.7 or newer"
}

// register mounts a binfmt_misc of the user namespace and tells it of qemu.
func (m machine) register() error {
	qemu, err := m.find()
	if err != nil {
		return err
	}
	name := "cpc-" + m.qemu
	if _, err := os.Stat(filepath.Join(miscDir, name)); err == nil {
		return nil // an earlier step's
	}
	if _, err := os.Stat(filepath.Join(miscDir, "register")); err != nil || !ownMount() {
		if err := unix.Mount("binfmt_misc", miscDir, "binfmt_misc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
			return fmt.Errorf("a user namespace cannot have its own binfmt_misc here (%w; this needs Linux 6.7)", err)
		}
	}
	line := fmt.Sprintf(":%s:M::%s:%s:%s:OCF", name, escaped(m.magic()), escaped(m.mask()), qemu)
	if err := os.WriteFile(filepath.Join(miscDir, "register"), []byte(line), 0); err != nil {
		return fmt.Errorf("register qemu-%s: %w", m.qemu, err)
	}
	return nil
}

// ownMount reports whether this process mounted binfmt_misc: then its root
// belongs to uid 0 of its user namespace.
func ownMount() bool {
	var st unix.Stat_t
	return unix.Stat(filepath.Join(miscDir, "register"), &st) == nil && st.Uid == 0
}

// find looks for a qemu without a dynamic loader, which the step would lack.
func (m machine) find() (string, error) {
	for _, name := range []string{"qemu-" + m.qemu + "-static", "qemu-" + m.qemu} {
		p, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		f, err := elf.Open(p)
		if err != nil {
			continue
		}
		static := true
		for _, prog := range f.Progs {
			static = static && prog.Type != elf.PT_INTERP
		}
		_ = f.Close() // only read
		if static {
			return filepath.Abs(p)
		}
	}
	return "", fmt.Errorf("qemu-%s-static: %w", m.qemu, exec.ErrNotFound)
}

// registered reports whether somebody registered an emulation that works
// without files in the step's root.
func (m machine) registered() bool {
	files, err := filepath.Glob(filepath.Join(miscDir, "*"))
	if err != nil {
		return false
	}
	want := fmt.Sprintf("magic %x", m.magic())
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		text := string(data)
		if strings.HasPrefix(text, "enabled\n") && strings.Contains(text, want) && fixed(text) {
			return true
		}
	}
	return false
}

// fixed reports whether an entry has the flag F.
func fixed(entry string) bool {
	for line := range strings.Lines(entry) {
		if flags, ok := strings.CutPrefix(line, "flags: "); ok {
			return strings.Contains(flags, "F")
		}
	}
	return false
}

// magic is the start of an ELF program or shared object of the machine.
func (m machine) magic() []byte {
	class, data := byte(elf.ELFCLASS32), byte(elf.ELFDATA2LSB)
	if m.wide {
		class = byte(elf.ELFCLASS64)
	}
	kind, id := []byte{2, 0}, []byte{byte(m.id), byte(m.id >> 8)}
	if m.big {
		data = byte(elf.ELFDATA2MSB)
		kind, id = []byte{0, 2}, []byte{byte(m.id >> 8), byte(m.id)}
	}
	out := append([]byte(elf.ELFMAG), class, data, byte(elf.EV_CURRENT), 0, 0, 0, 0, 0, 0, 0, 0, 0)
	return append(append(out, kind...), id...)
}

// mask leaves out the operating system's byte, and lets a program be of type
// EXEC or DYN.
func (m machine) mask() []byte {
	out := make([]byte, 20)
	for i := range out {
		out[i] = 0xff
	}
	out[7] = 0
	if m.big {
		out[17] = 0xfe
	} else {
		out[16] = 0xfe
	}
	return out
}

// escaped writes bytes as binfmt_misc reads them.
func escaped(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		fmt.Fprintf(&s, `\x%02x`, c)
	}
	return s.String()
}
