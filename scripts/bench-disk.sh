#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# bench-disk.sh: to be sourced: a file system for what is measured. Figures on
# the machine's own depend on what was deleted there a moment ago: ext4 without
# a journal passes over every inode that was freed in the last minutes.

# disk_mount DIR: mounts a new ext4 there, from a sparse file beside it. Without
# root DIR is a plain directory. BENCH_DIR is where its file system is wanted
# instead: DIR is a link to a directory there then.
disk_mount() {
	if [ -n "${BENCH_DIR:-}" ]; then
		ln -s "$(mktemp -d "$BENCH_DIR/cpc-bench.XXXXXX")" "$1"
		chmod 0711 "$1/"
	elif [ "$(id -u)" -ne 0 ]; then
		mkdir "$1"
		echo "not root: measured on the file system of $1"
	else
		mkdir "$1"
		truncate -s 24G "$1.ext4"
		/sbin/mkfs.ext4 -q "$1.ext4"
		mount -o loop "$1.ext4" "$1"
	fi
}

# disk_unmount DIR: removes what disk_mount made.
disk_unmount() {
	if [ -L "$1" ]; then
		rm -rf "$(readlink "$1")"
	elif mountpoint -q "$1"; then
		umount "$1" || umount -l "$1"
	fi
	rm -rf "$1.ext4"
}
