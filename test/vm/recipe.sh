#!/bin/sh
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# recipe.sh: what the VM is made of. mmdebstrap runs it twice in its hooks, with
# the new root as the second argument: "early" when only the essential packages
# are there, "late" when all are. packages prints the others. The image is kept
# by the hash of this file: whatever changes the image belongs in here.
set -eu
step=$1 root=${2:-}

case $step in
suite) echo trixie ;;
size) echo 4G ;; # sparse
packages)
	# One line, separated by commas. From podman on: what drives or is compared
	# with cpc-runtime.
	tr '\n' ',' <<-'END' | sed 's/,$//'
		linux-image-amd64
		systemd
		systemd-sysv
		dbus-user-session
		libpam-systemd
		uidmap
		iproute2
		nftables
		openssh-server
		apparmor
		apparmor-utils
		libseccomp2
		fuse3
		fuse2fs
		ca-certificates
		procps
		less
		sudo
		strace
		kmod
		podman
		conmon
		crun
		runc
		containerd
		containernetworking-plugins
		netavark
		passt
		iptables
		catatonit
		criu
		libcriu2
		busybox-static
		buildah
		skopeo
		umoci
		docker-registry
		bats
		gawk
		jq
	END
	;;
early)
	# Only what the VM's disk needs: a small initrd starts sooner.
	mkdir -p "$root/etc/initramfs-tools/conf.d" "$root/usr/share/initramfs-tools/modules.d"
	printf 'MODULES=list\nCOMPRESS=zstd\n' >"$root/etc/initramfs-tools/conf.d/vm"
	printf '%s\n' virtio_pci virtio_blk ext4 >"$root/usr/share/initramfs-tools/modules.d/vm"
	;;
late)
	echo cpc-vm >"$root/etc/hostname"
	printf '127.0.0.1 localhost cpc-vm\n::1 localhost\n' >"$root/etc/hosts"
	cat >"$root/etc/fstab" <<-'END'
		/dev/vda / ext4 errors=remount-ro,noatime 0 1
		work /work-cpc 9p trans=virtio,version=9p2000.L,msize=1048576,cache=readahead,ro,nofail 0 0
	END
	mkdir "$root/work-cpc"
	# QEMU's user network, without waiting for DHCP. Only its own device: the veths
	# of the tests are ethernet as well, and networkd drops foreign addresses.
	cat >"$root/etc/systemd/network/vm.network" <<-'END'
		[Match]
		Driver=virtio_net
		[Network]
		Address=10.0.2.15/24
		Gateway=10.0.2.2
		LinkLocalAddressing=no
		IPv6AcceptRA=no
	END
	# The VM reaches nothing: a name that is asked for must fail at once.
	echo "nameserver 127.0.0.1" >"$root/etc/resolv.conf"
	# The image is public to whoever has the key beside it, and never reached
	# from outside: run.sh forwards a port of 127.0.0.1.
	chroot "$root" useradd --create-home --uid 1000 --shell /bin/bash user
	chroot "$root" useradd --create-home --uid 1001 --shell /bin/bash norange
	sed -i /^norange:/d "$root/etc/subuid" "$root/etc/subgid"
	echo 'user ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/vm"
	for home in "$root/root" "$root/home/user" "$root/home/norange"; do
		mkdir -p "$home/.ssh"
		cp "$root/tmp/authorized_keys" "$home/.ssh/authorized_keys"
	done
	rm "$root/tmp/authorized_keys"
	chroot "$root" chown -R user: /home/user/.ssh
	chroot "$root" chown -R norange: /home/norange/.ssh
	printf 'PermitRootLogin prohibit-password\nPasswordAuthentication no\nUseDNS no\nPrintLastLog no\nPrintMotd no\n' \
		>"$root/etc/ssh/sshd_config.d/vm.conf"
	chroot "$root" systemctl enable -q systemd-networkd
	chroot "$root" systemctl disable -q systemd-networkd-wait-online 2>/dev/null || true
	chroot "$root" systemctl mask -q apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
		e2scrub_all.timer e2scrub_reap.service fstrim.timer logrotate.timer systemd-networkd-wait-online.service \
		networking.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount \
		podman-auto-update.timer docker-registry.service
	# Nothing of theirs runs until a test asks for it: others look at what is left.
	chroot "$root" systemctl disable -q containerd podman-auto-update podman-clean-transient podman-restart podman.socket
	chroot "$root" systemctl --global disable -q podman-auto-update.timer podman-restart podman.socket
	# What a first start would do, and each start here is one: under emulation
	# compiling Debian's 150 AppArmor profiles alone takes 20 s. Those that
	# concern containers and user namespaces stay.
	touch "$root/etc/.updated" "$root/var/.updated"
	chroot "$root" systemd-machine-id-setup
	find "$root/etc/apparmor.d" -maxdepth 1 -type f ! -name '*userns*' ! -name runc ! -name crun ! -name podman \
		! -name buildah ! -name passt -delete
	# No disk for the journal: it is gone afterwards anyway.
	mkdir -p "$root/etc/systemd/journald.conf.d"
	printf '[Journal]\nStorage=volatile\n' >"$root/etc/systemd/journald.conf.d/vm.conf"
	;;
*)
	echo "usage: recipe.sh suite|size|packages|early ROOT|late ROOT" >&2
	exit 2
	;;
esac
