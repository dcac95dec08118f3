// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// openLoop mounts the image through a loop device.
func (d *Disk) openLoop(o Options) (err error) {
	if !o.Root {
		return errors.New("only root can have a loop device")
	}
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer control.Close()
	if err := makeImage(o); err != nil {
		return err
	}
	image, err := os.OpenFile(o.Image, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer image.Close()
	device, err := attach(control, image)
	if err != nil {
		return err
	}
	defer device.Close() // the mount keeps it; without one it clears itself
	// Inode tables that nobody uses need not be written to the host's disk,
	// and what is deleted leaves it.
	data := "noinit_itable,discard,errors=remount-ro"
	if o.Label != "" {
		data += `,context="` + o.Label + `"`
	}
	if err := unix.Mount(device.Name(), o.Target, "ext4", mountFlags, data); err != nil {
		return fmt.Errorf("mount %s: %w", device.Name(), err)
	}
	return nil
}

// attach puts the image on a free loop device, which clears itself when it is
// neither open nor mounted any more. Linux 5.8.
func attach(control, image *os.File) (*os.File, error) {
	for range 100 {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("find a free loop device: %w", err)
		}
		device, err := os.OpenFile("/dev/loop"+strconv.Itoa(n), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		if err = configure(device, image); err == nil {
			return device, nil
		}
		_ = device.Close()
		if !errors.Is(err, unix.EBUSY) { // another was faster
			return nil, fmt.Errorf("configure %s: %w", device.Name(), err)
		}
	}
	return nil, errors.New("no loop device stays free long enough")
}

// configure puts the image on a device, past the page cache where the host's
// file system can do that: what is kept twice in memory counts twice, and what a
// sandbox writes would not wait for the limits of its rate (--device-write-bps).
func configure(device, image *os.File) error {
	config := unix.LoopConfig{Fd: uint32(image.Fd())} //nolint:gosec // a descriptor
	copy(config.Info.File_name[:], "cpc-disk")
	config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR | unix.LO_FLAGS_DIRECT_IO
	err := unix.IoctlLoopConfigure(int(device.Fd()), &config)
	if errors.Is(err, unix.EINVAL) {
		config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
		err = unix.IoctlLoopConfigure(int(device.Fd()), &config)
	}
	return err
}
