// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// CriuOptions are what checkpoint and restore hand to criu(8).
type CriuOptions struct {
	libcontainer.CriuOpts

	PageServerAddress string   // ADDRESS:PORT; "" is none
	EmptyNamespaces   []string // namespaces whose contents are left out: network
}

// prepare completes the options. The network's devices are never criu's: they
// are made by whoever makes the network namespace.
func (o *CriuOptions) prepare() error {
	if _, err := exec.LookPath("criu"); err != nil {
		return errors.New("criu is not installed: no such program in PATH")
	}
	for _, ns := range o.EmptyNamespaces {
		if ns != "network" {
			return fmt.Errorf("empty namespace %q: only network can be", ns)
		}
	}
	o.EmptyNs = unix.CLONE_NEWNET
	if o.ImagesDirectory == "" {
		o.ImagesDirectory = "checkpoint"
	}
	for _, path := range []*string{&o.ImagesDirectory, &o.WorkDirectory} {
		if err := makeAbs(path); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(o.ImagesDirectory, 0o700); err != nil {
		return err
	}
	if err := o.checkParent(); err != nil {
		return err
	}
	return o.parsePageServer()
}

// checkParent refuses an earlier dump that is not where criu will look for it.
func (o *CriuOptions) checkParent() error {
	if o.ParentImage == "" {
		return nil
	}
	if filepath.IsAbs(o.ParentImage) {
		return fmt.Errorf("--parent-path %s: must be relative to the image path", o.ParentImage)
	}
	path := filepath.Join(o.ImagesDirectory, o.ParentImage)
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		err = &os.PathError{Op: "open", Path: path, Err: unix.ENOTDIR}
	}
	if err != nil {
		return fmt.Errorf("--parent-path: %w", err)
	}
	return nil
}

func (o *CriuOptions) parsePageServer() error {
	if o.PageServerAddress == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(o.PageServerAddress)
	number, perr := strconv.ParseUint(port, 10, 16)
	if err != nil || perr != nil || host == "" {
		return fmt.Errorf("page server %q: want ADDRESS:PORT", o.PageServerAddress)
	}
	o.PageServer = libcontainer.CriuPageServerInfo{Address: host, Port: int32(number)}
	return nil
}

// Checkpoint writes a container's processes to files and, unless told
// otherwise, deletes it.
func (r Runtime) Checkpoint(id string, o CriuOptions) error {
	err := r.states().change(id, func(c *libcontainer.Container) error {
		status, err := c.Status()
		if err != nil {
			return err
		}
		if status == libcontainer.Created || status == libcontainer.Stopped {
			return errStatus("checkpoint", status)
		}
		if err := o.prepare(); err != nil {
			return err
		}
		if err := c.Checkpoint(&o.CriuOpts); err != nil || o.LeaveRunning || o.PreDump {
			return err
		}
		if err := r.destroy(c); err != nil {
			logrus.Warnf("checkpoint %s: %v", id, err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("checkpoint %s: %w", id, err)
	}
	return nil
}

// Restore makes a container out of a checkpoint; otherwise it is as Run.
func (r Runtime) Restore(id string, criu CriuOptions, o RunOptions) (int, error) {
	if err := criu.prepare(); err != nil {
		return 0, fmt.Errorf("restore %s: %w", id, err)
	}
	return r.run("restore", id, o, func(c *libcontainer.Container, p *libcontainer.Process) error {
		return c.Restore(p, &criu.CriuOpts)
	})
}
