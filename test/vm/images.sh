#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# images.sh: runs inside the VM: images between cpc and podman, buildah, skopeo
# and umoci, both ways, as archives, as layouts and by way of docker-registry.
# What arrives must have the files, owners, modes and links of what was sent.
set -u
# shellcheck source=test/vm/sides.sh
. "$(dirname "$0")/sides.sh"

port=5077
registry=127.0.0.1:$port
plain=(--tls-verify=false)
export CPC_DATA_DIR=$work/cpc CPC_STATE_DIR=$work/state
mkdir -p "$work/state"
chmod 700 "$work/state"

# listing is what is below /data: what the layers of the image made of it.
# shellcheck disable=SC2016 # for the shell in there
listing='cd /data && find . | sort | while read -r f; do stat -c "%n %f %u:%g" "$f"; [ ! -L "$f" ] || readlink "$f"; [ ! -f "$f" ] || md5sum <"$f"; done; cat /data/text; echo "$FROM_IMAGE $PWD"'

in_podman() { podman run --rm --network none --pull never "$1" sh -c "$listing"; }
in_cpc() { cpc run --rm --network none --pull never "$1" sh -c "$listing"; }

# same TEXT: the listing that every copy of the image must have.
same() { diff "$work/listing" - <<<"$1"; }
podman_has() { local out && out=$(in_podman "$1") && same "$out"; }
cpc_has() { local out && out=$(in_cpc "$1") && same "$out"; }

# The image: three layers, with what layers can have, a whiteout and an opaque
# directory.
dockerfile() {
	cat <<-'END'
		FROM scratch
		ADD layer.tar /
		COPY data /data
		RUN rm /data/gone && rm -r /data/replaced && mkdir /data/replaced && echo new >/data/replaced/new && \
		    chown 1000:10 /data/owned && chmod 6755 /data/owned && ln /data/text /data/hard && ln -s ../text /data/replaced/soft
		ENV FROM_IMAGE=yes
		WORKDIR /data
		LABEL org.example.test="a b"
	END
}

built_by_buildah() {
	mkdir -p "$work/context/data/replaced" "$work/context/data/empty" && tiny_root || return
	mv "$work/layer.tar" "$work/context/"
	cp "$work/context/layer.tar" "$work/layer.tar"
	(cd "$work/context/data" && echo text >text && echo owned >owned && echo gone >gone && echo old >replaced/old && chmod 0600 gone &&
		mkdir -p "$(printf 'long%.0s/' $(seq 40))" && echo ü >"name with ü and spaces")
	dockerfile >"$work/context/Dockerfile"
	buildah bud -q --layers -t localhost/by-buildah:1 "$work/context" && in_podman localhost/by-buildah:1 >"$work/listing" &&
		cat "$work/listing" && grep -q '^yes /data$' "$work/listing" && grep -q 'owned 8[0-9a-f]* 1000:10' "$work/listing"
}

built_by_cpc() { cpc build -q --sbom=false -t localhost/by-cpc:1 "$work/context" && cpc_has localhost/by-cpc:1; }

# archive PROGRAM FORMAT: an archive of PROGRAM's image.
podman_to_cpc() {
	podman save -q --format "$1" -o "$work/a.$1" localhost/by-buildah:1 && cpc load -q -i "$work/a.$1" | grep -qx 'localhost/by-buildah:1' &&
		cpc_has localhost/by-buildah:1 && cpc rmi localhost/by-buildah:1 && rm -rf "$work/a.$1"
}

cpc_to_podman() {
	cpc save --format "$1" -o "$work/b.$1" localhost/by-cpc:1 && podman load -q -i "$work/b.$1" && podman_has localhost/by-cpc:1 &&
		podman rmi localhost/by-cpc:1 && rm -rf "$work/b.$1"
}

several_at_once() {
	podman tag localhost/by-buildah:1 localhost/by-buildah:2 && podman save -q -m -o "$work/m.tar" localhost/by-buildah:1 localhost/by-buildah:2 &&
		cpc load -i "$work/m.tar" && cpc_has localhost/by-buildah:2 && cpc save -o "$work/n.tar" localhost/by-buildah localhost/by-cpc:1 &&
		podman rmi localhost/by-buildah:2 && podman load -q -i "$work/n.tar" && podman_has localhost/by-buildah:2 && podman_has localhost/by-cpc:1
}

serve() {
	cat >"$work/registry.yml" <<-END
		version: 0.1
		log: {level: error, accesslog: {disabled: true}}
		storage: {filesystem: {rootdirectory: $work/registry}}
		http: {addr: "$registry"}
	END
	docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
	served=$!
	until_true bash -c "echo >/dev/tcp/127.0.0.1/$port"
}

# podman_pushes NAME FLAG…: podman's image by the registry to cpc.
podman_pushes() {
	local ref=$registry/$1
	shift
	podman push -q "${plain[@]}" "$@" localhost/by-buildah:1 "$ref" && cpc pull -q "$ref" && cpc_has "$ref"
}

cpc_pushes() {
	cpc tag localhost/by-cpc:1 "$registry/by-cpc:1" && cpc push "$registry/by-cpc:1" && podman pull -q "${plain[@]}" "$registry/by-cpc:1" &&
		podman_has "$registry/by-cpc:1"
}

by_digest() {
	local digest
	digest=$(skopeo inspect "${plain[@]}" --format '{{.Digest}}' "docker://$registry/by-cpc:1") && cpc pull -q "$registry/by-cpc@$digest" | grep -qx "$digest" &&
		cpc_has "$registry/by-cpc:1@$digest"
}

# skopeo reads cpc's store as it is, and copies on in every format.
skopeo_reads_store() {
	skopeo inspect "oci:$CPC_DATA_DIR/oci:localhost/by-cpc:1" | grep -q '"org.example.test": "a b"' &&
		skopeo copy -q "oci:$CPC_DATA_DIR/oci:localhost/by-cpc:1" "docker-archive:$work/s.tar:localhost/by-skopeo:1" && cpc load -q -i "$work/s.tar" &&
		cpc_has localhost/by-skopeo:1
}

skopeo_converts() {
	local format
	for format in oci v2s2; do
		skopeo copy -q --format "$format" --src-tls-verify=false --dest-tls-verify=false "docker://$registry/by-cpc:1" "docker://$registry/$format:1" &&
			cpc pull -q "$registry/$format:1" && cpc_has "$registry/$format:1" || return
	done
	skopeo copy -q --src-tls-verify=false "docker://$registry/oci:1" "oci:$work/layout:localhost/from-layout:1" && cpc load -q -i "$work/layout" &&
		cpc_has localhost/from-layout:1
}

umoci_both_ways() {
	local rootless=
	[ "$who" = root ] || rootless=--rootless
	cpc save --format oci-dir -o "$work/umoci" localhost/by-cpc:1 && umoci ls --layout "$work/umoci" && umoci stat --image "$work/umoci:localhost/by-cpc:1" >/dev/null || return
	# umoci's tags have no slashes: it gets the image under another one.
	skopeo copy -q "oci:$work/umoci:localhost/by-cpc:1" "oci:$work/umoci:tag" && umoci unpack $rootless --image "$work/umoci:tag" "$work/bundle" &&
		echo added >"$work/bundle/rootfs/data/added" && rm "$work/bundle/rootfs/data/text" && umoci repack --image "$work/umoci:tag2" "$work/bundle" &&
		umoci gc --layout "$work/umoci" || return
	skopeo copy -q "oci:$work/umoci:tag2" "oci-archive:$work/umoci.tar:localhost/by-umoci:1" && cpc load -q -i "$work/umoci.tar" &&
		[ "$(cpc run --rm --network none localhost/by-umoci:1 sh -c 'cat /data/added; ls /data/text /data/hard')" = "added
/data/hard" ]
}

# A list of two platforms, of podman's to cpc and of cpc's to podman.
two_platforms() {
	local list=$registry/list:1 digest
	sed 's/^RUN .*//; s/^ .*//' <(dockerfile) >"$work/context/Containerfile.two"
	buildah bud -q --platform linux/amd64 -t localhost/two:amd64 -f "$work/context/Containerfile.two" "$work/context" &&
		buildah bud -q --platform linux/arm64 -t localhost/two:arm64 -f "$work/context/Containerfile.two" "$work/context" &&
		podman manifest create localhost/two:list && podman manifest add localhost/two:list "containers-storage:localhost/two:amd64" &&
		podman manifest add localhost/two:list "containers-storage:localhost/two:arm64" &&
		podman manifest push -q "${plain[@]}" --all localhost/two:list "docker://$list" || return
	cpc pull -q "$list" && [ "$(cpc inspect --format '{{.Architecture}}' "$list")" = amd64 ] && cpc pull -q --platform linux/arm64 "$list" &&
		[ "$(cpc inspect --format '{{.Architecture}}' "$list")" = arm64 ] || return
	cpc build -q --sbom=false --platform linux/amd64,linux/arm64 -t "$registry/both:1" -f "$work/context/Containerfile.two" "$work/context" &&
		cpc push -q "$registry/both:1" || return
	skopeo inspect "${plain[@]}" --raw "docker://$registry/both:1" | grep -o '"architecture":"[a-z0-9]*"' | sort | tr '\n' ' ' |
		grep -q '"amd64" .*"arm64"' && podman pull -q "${plain[@]}" --arch arm64 "$registry/both:1" &&
		[ "$(podman image inspect --format '{{.Architecture}}' "$registry/both:1")" = arm64 ]
}

exported() {
	local id
	id=$(podman create localhost/by-buildah:1 sh) && podman export -o "$work/e.tar" "$id" && podman rm "$id" >/dev/null &&
		cpc import -c 'ENV FROM_IMAGE=yes PATH=/bin' -c 'WORKDIR /data' "$work/e.tar" localhost/exported:1 && cpc_has localhost/exported:1 &&
		cpc export localhost/by-cpc:1 >"$work/f.tar" && podman import -q -c ENV=FROM_IMAGE=yes -c ENV=PATH=/bin -c WORKDIR=/data "$work/f.tar" localhost/imported:1 &&
		podman_has localhost/imported:1
}

finish() {
	[ -z "${served:-}" ] || kill "$served"
	podman rmi -af >/dev/null 2>&1
	cpc rmi -f "$(cpc images -q)" >/dev/null 2>&1
	cpc system prune -af >/dev/null 2>&1
	rm -rf "$work" 2>/dev/null || podman unshare rm -rf "$work"
}
trap finish EXIT

check "buildah builds, podman runs" built_by_buildah
check "cpc builds the same" built_by_cpc
for format in docker-archive oci-archive; do
	check "podman save, cpc load: $format" podman_to_cpc $format
	check "cpc save, podman load: $format" cpc_to_podman $format
done
check "podman save, cpc load: oci-dir" podman_to_cpc oci-dir
check "several images in one archive" several_at_once
check "docker-registry" serve
check "podman push, cpc pull" podman_pushes by-podman:1
check "podman push v2s2, cpc pull" podman_pushes by-podman:v2s2 --format v2s2
check "podman push zstd, cpc pull" podman_pushes by-podman:zstd --compression-format zstd
check "podman push zstd:chunked, cpc pull" podman_pushes by-podman:chunked --compression-format zstd:chunked
check "cpc push, podman pull" cpc_pushes
check "pinned by its digest" by_digest
check "skopeo reads cpc's store" skopeo_reads_store
check "skopeo converts" skopeo_converts
check "umoci unpacks and repacks" umoci_both_ways
check "two platforms" two_platforms
check "export and import" exported
