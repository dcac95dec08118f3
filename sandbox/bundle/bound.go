// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package bundle

import "slices"

// Shares of the memory limit, of which files in memory have at most a half where nobody
// has said how much.
const (
	shmShare  = 8  // what /dev/shm has of it at most
	leastPart = 16 // what each tmpfs has of it at least
)

// BoundTmpfs bounds the tmpfs mounts of o whose size nobody gave. Files in memory count as
// memory, and when that runs out, programs are killed; a full file system is an error that
// they know. So where all tmpfs together could fill the memory limit, they get half of it
// together. Sizes that were given stay as they are, and count. What is left is shared
// in proportion to the sizes; a tmpfs without one could have had all. given are those that
// the caller asked for, and shmGiven says that the size of /dev/shm was. The home and the
// system's places count too, whether or not they turn out to be in memory.
func (o *Options) BoundTmpfs(given []Tmpfs, shmGiven bool) {
	b := bounds{limit: o.Limits.Memory, given: given}
	shm := o.ShmSize
	if hasTmpfs(o.Tmpfs, "/dev/shm") {
		shm = 0
	}
	list := o.Tmpfs
	var space Space
	if o.ReadOnly {
		space = o.Space
	}
	if space.Home > 0 {
		list = append(slices.Clone(list), Tmpfs{Size: space.Home}) // it has no path yet
	}
	if b.limit <= 0 || !b.fills(list, shm+space.System) {
		return
	}
	if shm > 0 && !shmGiven {
		shm = min(shm, b.limit/shmShare)
		o.ShmSize = shm
	}
	if space.System > 0 {
		space.System = min(space.System, b.limit/leastPart)
		o.Space.System = space.System
	}
	list = b.shared(list, shm+space.System)
	n := len(o.Tmpfs)
	o.Tmpfs = slices.Clip(list[:n])
	if space.Home > 0 {
		o.Space.Home = list[n].Size
	}
}

// bounds are of the tmpfs mounts of a sandbox with a memory limit.
type bounds struct {
	limit int64
	given []Tmpfs
}

// sized reports whether the caller gave the size of t.
func (b bounds) sized(t Tmpfs) bool {
	return slices.ContainsFunc(b.given, func(g Tmpfs) bool { return g.Path == t.Path && g.Size > 0 })
}

// wants is how much of the limit t could fill.
func (b bounds) wants(t Tmpfs) int64 {
	if t.Size > 0 {
		return min(t.Size, b.limit)
	}
	return b.limit
}

// fills reports whether all could fill the limit, with taken bytes elsewhere.
func (b bounds) fills(list []Tmpfs, taken int64) bool {
	all := min(taken, b.limit)
	for _, t := range list {
		all += b.wants(t)
	}
	return all >= b.limit
}

// shared returns list, in which those that nobody sized share what the others, and taken
// bytes elsewhere, leave of half the limit.
func (b bounds) shared(list []Tmpfs, taken int64) []Tmpfs {
	left, want := b.limit/2-min(taken, b.limit), int64(0)
	for _, t := range list {
		if b.sized(t) {
			left -= b.wants(t)
		} else {
			want += b.wants(t)
		}
	}
	const page = 4096
	list = slices.Clone(list)
	for i, t := range list {
		if b.sized(t) {
			continue
		}
		n := int64(float64(max(left, 0)) * float64(b.wants(t)) / float64(want))
		n = min(max(n, b.limit/leastPart), b.wants(t))
		list[i].Size = max(n/page, 1) * page
	}
	return list
}
