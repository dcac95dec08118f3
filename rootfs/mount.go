// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/rootfs/store"
)

// MountOptions are the options of Mount.
type MountOptions struct {
	// Layers are the lower directories, bottom first; at least one.
	Layers []Layer
	// Scratch is an existing directory of this mount alone, where upper and
	// work directory are made; Target an existing one where the merged tree
	// is mounted.
	Scratch, Target string
	Mapping         idmap.Mapping
	// StoreUpper: the upper directory holds store ids, so that it can become
	// a layer. As root it is mounted idmapped then, as the layers are.
	StoreUpper bool
	// Label is the SELinux context of all that is in it; "" leaves the files'.
	Label string
	// Volatile leaves out syncing: for what does not outlive the sandbox.
	Volatile bool
}

// Mounted is a mounted root file system. Root is the merged tree, Upper the
// directory that holds what was changed in it.
type Mounted struct {
	Root, Upper string
}

// plan is an overlay before it is mounted: which directories, which options.
// Directories are given to the kernel as descriptors in /proc/self/fd, so that
// no path can be too long for the page that the options must fit in, nor hold
// characters that mean something there.
type plan struct {
	lower         []string // top first
	upper, work   string
	options       []string
	idmap         bool // layers are mounted idmapped
	idmapScratch  bool // so is the scratch directory
	target        string
	scratch       string
	rootOwner     [2]int // of the upper directory, on disk
	rootMode      uint32
	mapping       idmap.Mapping
	scratchMounts string // where idmapped mounts are put for a moment
}

func planMount(o MountOptions) (plan, error) {
	if len(o.Layers) == 0 {
		return plan{}, errors.New("image without layers: there is nothing to run")
	}
	if len(o.Layers) > store.MaxLayers {
		return plan{}, fmt.Errorf("%d layers: at most %d can be mounted", len(o.Layers), store.MaxLayers)
	}
	p := plan{
		upper: filepath.Join(o.Scratch, "upper"), work: filepath.Join(o.Scratch, "work"),
		options: []string{"index=off"}, idmap: o.Mapping.NeedsIDMappedLayers(),
		target: o.Target, scratch: o.Scratch, mapping: o.Mapping,
		scratchMounts: filepath.Join(o.Scratch, "idmapped"),
	}
	p.idmapScratch = p.idmap && o.StoreUpper
	for _, l := range slices.Backward(o.Layers) {
		// All that a layer says it says where it is topmost; overlayfs refuses
		// to take it twice.
		if !slices.Contains(p.lower, l.Dir) {
			p.lower = append(p.lower, l.Dir)
		}
	}
	if o.Mapping.Mode == idmap.Root {
		p.options = append(p.options, "redirect_dir=off", "metacopy=off")
	} else {
		// Without rights over trusted.* attributes; it excludes the other two.
		p.options = append(p.options, "userxattr")
	}
	if o.Volatile {
		p.options = append(p.options, "volatile")
	}
	if o.Label != "" {
		p.options = append(p.options, `context="`+o.Label+`"`)
	}
	return p, nil
}

// Mount mounts an overlay. What it needed on the way is unmounted again: Close
// has the overlay alone to unmount.
//
// Preconditions: CAP_SYS_ADMIN in the mount namespace's user namespace,
// private propagation, /proc mounted. As root with another base than 0: Linux
// 5.19 (idmapped layers below overlayfs); else Linux 5.11 (userxattr).
func Mount(o MountOptions) (_ *Mounted, err error) {
	p, err := planMount(o)
	if err != nil {
		return nil, fmt.Errorf("mount root file system: %w", err)
	}
	if err := p.makeUpper(); err != nil {
		return nil, fmt.Errorf("mount root file system: %w", err)
	}
	if err := p.apply(); err != nil {
		return nil, fmt.Errorf("mount root file system on %s: %w", o.Target, err)
	}
	return &Mounted{Root: o.Target, Upper: p.upper}, nil
}

// makeUpper makes upper and work directory. The merged root has the owner and
// mode of the upper one, and its time, so that gets those of the topmost layer.
func (p *plan) makeUpper() error {
	var st unix.Stat_t
	if err := unix.Stat(p.lower[0], &st); err != nil {
		return fmt.Errorf("layer %s: %w", p.lower[0], err)
	}
	p.rootOwner, p.rootMode = [2]int{int(st.Uid), int(st.Gid)}, st.Mode&0o7777
	if p.idmap && !p.idmapScratch {
		// The upper directory is used as it is: it holds the sandbox's ids.
		for i, id := range p.rootOwner {
			shifted, err := p.mapping.ToCaller(uint32(id))
			if err != nil {
				return fmt.Errorf("root of layer %s: %w", p.lower[0], err)
			}
			p.rootOwner[i] = int(shifted)
		}
	}
	for _, dir := range []string{p.upper, p.work} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
	}
	if err := os.Lchown(p.upper, p.rootOwner[0], p.rootOwner[1]); err != nil {
		return err
	}
	if err := unix.Chmod(p.upper, p.rootMode); err != nil {
		return err
	}
	if p.idmapScratch {
		if err := os.Lchown(p.work, mounterID, mounterID); err != nil {
			return err
		}
	}
	mtime := time.Unix(st.Mtim.Unix())
	return os.Chtimes(p.upper, mtime, mtime)
}

// apply opens the directories, idmapped where needed, and mounts.
func (p *plan) apply() (err error) {
	dirs := &openDirs{}
	defer func() { err = errors.Join(err, dirs.close()) }()
	if p.idmap {
		if err := dirs.startMapping(p.mapping, p.scratchMounts); err != nil {
			return err
		}
	}
	var lower []string
	for _, dir := range p.lower {
		path, err := dirs.open(dir, p.idmap)
		if err != nil {
			return fmt.Errorf("layer %s: %w", dir, err)
		}
		lower = append(lower, path)
	}
	upper, work, err := p.openUpper(dirs)
	if err != nil {
		return err
	}
	data := strings.Join(append([]string{
		"lowerdir=" + strings.Join(lower, ":"), "upperdir=" + upper, "workdir=" + work,
	}, p.options...), ",")
	if err := unix.Mount("overlay", p.target, "overlay", unix.MS_NODEV, data); err != nil {
		return fmt.Errorf("overlay: %w", explainOverlay(err, p.idmap))
	}
	return nil
}

func (p *plan) openUpper(dirs *openDirs) (upper, work string, err error) {
	base := p.scratch
	if p.idmapScratch {
		// Upper and work directory must be on one and the same mount.
		if base, err = dirs.attach(p.scratch); err != nil {
			return "", "", fmt.Errorf("scratch %s: %w", p.scratch, err)
		}
	}
	if upper, err = dirs.open(filepath.Join(base, "upper"), false); err == nil {
		work, err = dirs.open(filepath.Join(base, "work"), false)
	}
	return upper, work, err
}

// explainOverlay adds what the errors of mount(2) most likely stand for here.
func explainOverlay(err error, idmapped bool) error {
	switch {
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%w: this kernel has no overlayfs: modprobe overlay", err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: mounting overlayfs in a user namespace needs Linux 5.11", err)
	case errors.Is(err, unix.EINVAL) && idmapped:
		return fmt.Errorf("%w: idmapped layers need Linux 5.19; dmesg may say more", err)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w: the file system of the store cannot hold an upper directory, or an option is unknown to this kernel; dmesg may say more", err)
	}
	return err
}

// Close unmounts the merged tree. It is an error if something still uses it;
// it is gone from the mount namespace all the same.
func (m *Mounted) Close() error {
	// A program that is just being started elsewhere in this process has all
	// of its descriptors until exec, for an instant.
	const tries, pause = 200, 10 * time.Millisecond
	err := unix.Unmount(m.Root, unix.UMOUNT_NOFOLLOW)
	for i := 0; errors.Is(err, unix.EBUSY) && i < tries; i++ {
		time.Sleep(pause)
		err = unix.Unmount(m.Root, unix.UMOUNT_NOFOLLOW)
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("unmount %s: %w", m.Root, err)
	if !errors.Is(err, unix.EBUSY) {
		return err
	}
	return errors.Join(err, unix.Unmount(m.Root, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW))
}

// MountOver mounts an overlay whose lower directory is a tree as this process sees
// it, such as a directory of a mounted root file system; o.Layers is not looked at.
// It fails where too many overlays lie upon each other (the kernel stacks two),
// and where Scratch has no attributes to remember what was removed.
//
// Preconditions: those of Mount.
func MountOver(tree string, o MountOptions) (*Mounted, error) {
	if err := attributes(o.Scratch, o.Mapping.Mode); err != nil {
		return nil, fmt.Errorf("mount over %s: %w", tree, err)
	}
	o.Layers, o.Mapping.Base = []Layer{{Dir: tree}}, 0 // the tree shows the caller's ids
	return Mount(o)
}

// attributes reports whether overlayfs can keep its attributes in dir. The kernel
// mounts without them, and then refuses some operations later.
func attributes(dir string, mode idmap.Mode) error {
	name := "user.cpc"
	if mode == idmap.Root {
		name = "trusted.cpc"
	}
	if err := unix.Setxattr(dir, name, []byte("y"), 0); err != nil {
		return fmt.Errorf("extended attributes in %s: %w: on a tmpfs they need Linux 6.6", dir, err)
	}
	return unix.Removexattr(dir, name)
}
