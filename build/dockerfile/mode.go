// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/internal/visible"
)

// Mode is a --chmod: a number, or changes to the mode that a file has.
type Mode struct {
	octal   bool
	bits    uint32
	changes []modeChange
}

// modeChange is one WHO OP PERM of a symbolic mode.
type modeChange struct {
	who  uint32 // mask of the bits that may change
	op   byte
	perm string
}

// ParseMode reads an octal or symbolic (chmod(1)) mode.
func ParseMode(s string) (Mode, error) {
	if n, err := strconv.ParseUint(s, 8, 32); err == nil {
		if n > 0o7777 {
			return Mode{}, fmt.Errorf("--chmod=%s: larger than 7777", visible.Line(s))
		}
		return Mode{octal: true, bits: uint32(n)}, nil
	}
	var m Mode
	bad := hint.With(fmt.Errorf("--chmod=%s: not a mode", visible.Bounded(s, 40)), "write 0755 or u=rwX,go=rX")
	for part := range strings.SplitSeq(s, ",") {
		rest := strings.TrimLeft(part, "ugoa")
		who := part[:len(part)-len(rest)]
		mask := whoMask(who)
		if rest == "" {
			return Mode{}, bad
		}
		for rest != "" {
			op := rest[0]
			if !strings.ContainsRune("+-=", rune(op)) {
				return Mode{}, bad
			}
			after := strings.TrimLeft(rest[1:], "rwxXst")
			if len(after) == len(rest)-1 && after != "" && strings.ContainsRune("ugo", rune(after[0])) {
				after = after[1:] // g=u: what another class has
			}
			m.changes = append(m.changes, modeChange{who: mask, op: op, perm: rest[1 : len(rest)-len(after)]})
			rest = after
		}
	}
	return m, nil
}

func whoMask(who string) uint32 {
	if who == "" || strings.Contains(who, "a") {
		return 0o7777
	}
	var mask uint32
	for _, c := range who {
		switch c {
		case 'u':
			mask |= 0o4700
		case 'g':
			mask |= 0o2070
		case 'o':
			mask |= 0o1007
		}
	}
	return mask
}

// Fixed is the bits of a mode that does not depend on what a file has.
func (m Mode) Fixed() (bits uint32, ok bool) { return m.bits, m.octal }

// Apply gives the permission bits of a file that has bits now.
func (m Mode) Apply(bits uint32, isDir bool) uint32 {
	if m.octal {
		return m.bits
	}
	for _, c := range m.changes {
		var set uint32
		for _, p := range c.perm {
			switch p {
			case 'r':
				set |= 0o444
			case 'w':
				set |= 0o222
			case 'x':
				set |= 0o111
			case 'X':
				if isDir || bits&0o111 != 0 {
					set |= 0o111
				}
			case 's':
				set |= 0o6000
			case 't':
				set |= 0o1000
			case 'u':
				set |= bits >> 6 & 7 * 0o111
			case 'g':
				set |= bits >> 3 & 7 * 0o111
			case 'o':
				set |= bits & 7 * 0o111
			}
		}
		set &= c.who
		switch c.op {
		case '+':
			bits |= set
		case '-':
			bits &^= set
		case '=':
			bits = bits&^(c.who&0o777|c.who&0o7000&^dirBits(isDir)) | set
		}
	}
	return bits
}

// dirBits are the bits that = keeps on a directory, as chmod(1) does.
func dirBits(isDir bool) uint32 {
	if isDir {
		return 0o6000
	}
	return 0
}
