// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package files copies files: from a build context, a stage, an image or an
// archive into a mounted root file system or a directory that a person named.
//
// A Tree finds files and describes them, a Writer writes them. What a file is
// beside its names and bytes is an inode.Inode, which the layers' tar streams are
// made from and read into as well (rootfs/layer): whatever is known of a file is
// kept on every way, and counts in the key of the build cache.
//
// Both may be hostile: a name leads nowhere but below the tree's root, a named
// pipe is not waited for, and a file that is swapped while it is read is an error.
// The caller opens and closes trees and writers; their methods keep no
// descriptors.
package files
