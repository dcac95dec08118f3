// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package layer

import (
	"archive/tar"
	"fmt"
	"math"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/inode"
)

const (
	paxXattr = "SCHILY.xattr."
	// paxPlain is this program's: a name that starts with .wh. is a file's and
	// stands for no removal. Others take it for one.
	paxPlain = "CPC.plain"
)

// tarTypes are the types of files that a tar and a layer hold.
var tarTypes = map[uint32]byte{
	unix.S_IFREG: tar.TypeReg, unix.S_IFDIR: tar.TypeDir, unix.S_IFLNK: tar.TypeSymlink, unix.S_IFIFO: tar.TypeFifo,
}

// header describes a file in a tar; its ids are the image's. The attributes that
// a tar cannot hold are returned.
func header(name string, n *inode.Inode) (hdr *tar.Header, lost []string) {
	hdr = &tar.Header{
		Typeflag: tarTypes[n.Type()], Name: name, Linkname: n.Link, Mode: int64(n.Mode & 0o7777),
		Uid: int(n.UID), Gid: int(n.GID), ModTime: n.Time, Format: tar.FormatPAX,
	}
	if n.IsRegular() {
		hdr.Size = n.Size
	}
	for attr, value := range n.Attrs {
		if strings.Contains(attr, "=") {
			lost = append(lost, attr)
			continue
		}
		setRecord(hdr, paxXattr+attr, value)
	}
	return hdr, lost
}

func setRecord(hdr *tar.Header, key, value string) {
	if hdr.PAXRecords == nil {
		hdr.PAXRecords = make(map[string]string)
	}
	hdr.PAXRecords[key] = value
}

// describe is the inverse of header. The inode's ids are the image's.
func describe(hdr *tar.Header) (n inode.Inode, err error) {
	for kind, flag := range tarTypes {
		if flag == hdr.Typeflag {
			n.Mode = kind
		}
	}
	if hdr.Typeflag == tar.TypeCont || hdr.Typeflag == tar.TypeGNUSparse {
		n.Mode = unix.S_IFREG
	}
	n.SetBits(uint32(hdr.Mode))
	n.Time, n.Link, n.Size = hdr.ModTime, hdr.Linkname, hdr.Size
	for who, id := range map[string]int{"user": hdr.Uid, "group": hdr.Gid} {
		if id < 0 || id > math.MaxUint32 {
			return n, fmt.Errorf("%s id %d: not an id", who, id)
		}
	}
	n.UID, n.GID = uint32(hdr.Uid), uint32(hdr.Gid)
	for key, value := range hdr.PAXRecords {
		attr, ok := strings.CutPrefix(key, paxXattr)
		if !ok || !inode.Keeps(attr) {
			continue
		}
		if n.Attrs == nil {
			n.Attrs = make(map[string]string)
		}
		n.Attrs[attr] = inode.Plain(attr, value)
	}
	return n, nil
}
