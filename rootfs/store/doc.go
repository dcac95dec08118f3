// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package store keeps images on disk: it alone knows the paths and locks of an image
// store, and writes there. A Batch is how anything comes in (batch.go).
//
// # Theory of operation
//
// A store is one directory:
//
//	oci/      an OCI image layout, the only source of truth: blobs under their
//	          digests, and index.json, which names manifests by the annotation
//	          org.opencontainers.image.ref.name. Other tools read it:
//	          skopeo inspect oci:DIR/oci:docker.io/library/debian:trixie-slim
//	layers/   unpacked layers by how ids are backed (see variant) and diff id;
//	          each can be made again from its blob
//	cache/    results of build steps, by the digest of what made them
//	scratch/  upper and work directories of what runs now
//	tmp/      work in progress; a directory here is of the process that holds
//	          a lock on it, or it is garbage that Open removes
//	locks/    files for flock(2), and one that holds room for index.json, so
//	          that images can be removed from a full disk
//
// Everything appears in its final place by a rename (settle), after it was verified
// and synced: blobs and layers first, then index.json. A crash at any instant
// leaves garbage in tmp/, or blobs that nothing refers to, which the next
// collection removes. Digests are verified whenever a blob is written or read.
//
// # Locks
//
// In this order: gc, then image and layer locks, then index, then tmp. The gc
// lock is held shared by a Batch, whose blobs index.json does not refer to yet,
// and exclusively by a collection, which never waits for it. Image and layer
// locks are held shared by anyone who uses them (Store.Use) and tried exclusively by
// anyone who removes them. index is held while index.json is read and replaced.
//
// # Who runs it
//
// Code here runs as uid 0: of the host, or of a user namespace that maps the
// user's ids (U0). A Store may be used
// by several goroutines, a directory by several processes.
package store
