// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"syscall"
	"unsafe"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/dirs"
	"github.com/claude-pocket-console/cpc/internal/handoff"
	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/userns"
	"github.com/claude-pocket-console/cpc/internal/visible"
)

// Role is the hand-off role of the copy of cpc that tries things.
const Role = "trial"

// task is what that copy is told.
type task struct {
	Dir  string     `json:"dir"` // of its own, in the data directory
	Mode idmap.Mode `json:"mode"`
}

// maxAnswer bounds what is read of the copy.
const maxAnswer = 1 << 16

// inNamespaces has a copy of cpc try what sandboxes need, in the namespaces that a
// monitor has, with the ids that this user can map.
func inNamespaces(d dirs.Dirs) Trials {
	var t Trials
	err := t.start(d)
	t.UserNS.Tried = true
	if err != nil {
		t.UserNS.Error = err.Error()
	}
	return t
}

func (t *Trials) start(d dirs.Dirs) (err error) {
	dir, err := os.MkdirTemp(d.Data, "doctor-*")
	if err != nil {
		return fmt.Errorf("a directory to try things in: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	ids := userns.Discover()
	goruntime.LockOSThread() // the copy is killed when this thread ends
	defer goruntime.UnlockOSThread()
	cmd, err := userns.Start(userns.Child{
		Role: Role, IDs: ids, Files: []*os.File{w},
		Body: func(int) (any, error) { return task{Dir: dir, Mode: ids.Mode}, nil },
	})
	_ = w.Close()
	if err != nil {
		return err
	}
	answer, err := io.ReadAll(io.LimitReader(r, maxAnswer))
	if err := errors.Join(err, cmd.Wait()); err != nil {
		return fmt.Errorf("the process that tries things: %w", err)
	}
	return json.Unmarshal(answer, t)
}

// TrialMain is that copy. It returns its exit status.
func TrialMain() int {
	var t task
	err := handoff.Receive(Role, &t)
	if err == nil {
		answer := os.NewFile(handoff.FirstFile, "answer")
		err = json.NewEncoder(answer).Encode(t.trials())
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "cpc doctor: %s\n", visible.Error(err))
		return 1
	}
	return 0
}

func tried(err error) Trial {
	t := Trial{Tried: true}
	if err != nil {
		t.Error = err.Error()
	}
	return t
}

func (t task) trials() Trials {
	var out Trials
	hostProc, err := userns.Settle(t.Mode)
	if out.Proc = tried(err); err != nil {
		return out
	}
	_ = hostProc.Close()
	out.Nested = tried(t.nested())
	out.Overlay = tried(t.overlay())
	if t.Mode == idmap.Root {
		out.IDMapped = tried(t.idmapped())
	} else {
		out.Fuse = tried(t.fuse())
	}
	// From here on in a network namespace of the thread's own.
	goruntime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		out.Veth = tried(fmt.Errorf("new network namespace: %w", err))
		return out
	}
	out.Veth = tried(veth())
	out.NFTables = tried(tables())
	out.Seccomp = tried(filter())
	return out
}

// nested starts a process in the namespaces of a sandbox, inside of these.
func (t task) nested() error {
	cmd := exec.Command("/proc/self/exe", "version")
	inside := 1 // as in a sandbox: its 0 is not ours
	if t.Mode == idmap.Single {
		inside = 0
	}
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: inside, Size: 1}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		UidMappings: ids, GidMappings: ids,
	}
	return cmd.Run()
}

// makeDirs makes directories in the trial's own and returns their paths.
func (t task) makeDirs(names ...string) ([]string, error) {
	var paths []string
	for _, name := range names {
		path := filepath.Join(t.Dir, name)
		if err := os.Mkdir(path, 0o700); err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// overlay mounts two layers, as an image's are, and changes a file.
func (t task) overlay() error {
	d, err := t.makeDirs("lower", "lower2", "upper", "work", "merged")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(d[0], "file"), []byte("old"), 0o600); err != nil {
		return err
	}
	data := fmt.Sprintf("lowerdir=%s:%s,upperdir=%s,workdir=%s", d[0], d[1], d[2], d[3])
	if t.Mode != idmap.Root {
		data += ",userxattr"
	}
	if err := unix.Mount("overlay", d[4], "overlay", unix.MS_NODEV, data); err != nil {
		return fmt.Errorf("mount an overlay: %w", err)
	}
	err = os.WriteFile(filepath.Join(d[4], "file"), []byte("new"), 0o600)
	return errors.Join(err, unix.Unmount(d[4], unix.MNT_DETACH))
}

// idmapped mounts a directory with other ids.
func (t task) idmapped() error {
	d, err := t.makeDirs("idmapped")
	if err != nil {
		return err
	}
	// The user namespace is that of a process that waits to be read from.
	cmd := exec.Command("/proc/self/exe", "version")
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 1 << 29, Size: idmap.Size}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, Ptrace: true}
	goruntime.LockOSThread() // the tracer is a thread
	defer goruntime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", cmd.Process.Pid))
	if err != nil {
		return err
	}
	defer ns.Close()
	tree, err := unix.OpenTree(unix.AT_FDCWD, d[0], unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fmt.Errorf("open_tree: %w", err)
	}
	defer unix.Close(tree)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns.Fd())}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return fmt.Errorf("mount_setattr: %w", err)
	}
	return nil
}

// fuse mounts a file system that nobody serves.
func (t task) fuse() error {
	d, err := t.makeDirs("fuse")
	if err != nil {
		return err
	}
	dev, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer dev.Close()
	data := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", dev.Fd())
	if err := unix.Mount("doctor", d[0], "fuse", unix.MS_NODEV|unix.MS_NOSUID, data); err != nil {
		return fmt.Errorf("mount a FUSE file system: %w", err)
	}
	return unix.Unmount(d[0], unix.MNT_DETACH)
}

func veth() error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "doctor0"}, PeerName: "doctor1"}
	if err := h.LinkAdd(link); err != nil {
		return fmt.Errorf("add a veth pair: %w", err)
	}
	return nil
}

// tables makes the kinds of chain that the gateway has.
func tables() error {
	c, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return err
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "doctor"})
	c.AddChain(&nftables.Chain{
		Name: "filter", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter,
	})
	c.AddChain(&nftables.Chain{
		Name: "nat", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest,
	})
	if err := c.Flush(); err != nil {
		return errors.Join(fmt.Errorf("add nftables chains: %w", err), c.CloseLasting())
	}
	return c.CloseLasting()
}

// filter puts a filter that allows all on the calling thread.
func filter() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	program := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}}
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog))); errno != 0 {
		return fmt.Errorf("seccomp filter: %w", errno)
	}
	return nil
}
