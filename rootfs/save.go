// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/rootfs/store"
)

// Format is how images are written for other tools.
type Format string

// The formats of Save and SaveDir.
const (
	// DockerArchive is what docker save writes since version 25: an OCI image
	// layout with docker's manifest.json in it, so that either reader is served.
	DockerArchive Format = "docker-archive"
	// OCIArchive is the tar of an OCI image layout, with OCI's media types only.
	OCIArchive Format = "oci-archive"
	// OCIDir is that layout as a directory.
	OCIDir Format = "oci-dir"
)

const (
	// annotationImageName is containerd's, and docker's, for an image's full name.
	annotationImageName = "io.containerd.image.name"
	dockerManifestFile  = "manifest.json"
)

// dockerImage is an image in docker's manifest.json.
type dockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// saved is what is going to be written, in this order, and under which names.
type saved struct {
	s      *Store
	o      SaveOptions
	blobs  []v1.Descriptor
	data   map[digest.Digest][]byte // of blobs that are not in the store
	index  *v1.Index
	docker []dockerImage
}

// SaveOptions are the options of Save and SaveDir.
type SaveOptions struct {
	// Format of Save; SaveDir's is OCIDir.
	Format Format
	// Platform is the one wanted of images for several; all if nil.
	Platform *v1.Platform
	// Referrers has what is kept about the images go along into an OCI layout
	// also, where other programs take each entry of its index for an image.
	Referrers bool
	// Names are what the one image is called in the archive, in place of the
	// names that it has in the store.
	Names []string
}

// Save writes images as one archive; docker's has what is kept about them, too. A name
// without a tag stands for all tags of that repository. The same images give
// the same bytes.
func (s *Store) Save(ctx context.Context, w io.Writer, refs []string, o SaveOptions) error {
	p, release, err := s.planSave(ctx, refs, o)
	if err != nil {
		return err
	}
	defer release()
	tw := tar.NewWriter(w)
	if err := p.write(ctx, tarTarget{tw}); err != nil {
		return fmt.Errorf("save: %w", err)
	}
	return tw.Close()
}

// SaveDir writes images as an OCI image layout into a new directory.
func (s *Store) SaveDir(ctx context.Context, dir string, refs []string, o SaveOptions) (err error) {
	o.Format = OCIDir
	p, release, err := s.planSave(ctx, refs, o)
	if err != nil {
		return err
	}
	defer release()
	if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // for other programs to read
		return fmt.Errorf("save: %w", err)
	}
	if err := p.write(ctx, dirTarget(dir)); err != nil {
		return fmt.Errorf("save: %w", errors.Join(err, os.RemoveAll(dir)))
	}
	return nil
}

func (s *Store) planSave(ctx context.Context, refs []string, o SaveOptions) (p *saved, release func(), err error) {
	if release, err = s.Hold(); err != nil {
		return nil, nil, err
	}
	p = &saved{s: s, o: o, data: make(map[digest.Digest][]byte), index: store.NewIndex()}
	idx, err := s.Index()
	for _, ref := range refs {
		if err == nil {
			err = p.add(idx, ref)
		}
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		release()
		return nil, nil, err
	}
	return p, release, nil
}

// add plans one image, or all of a repository.
func (p *saved) add(idx *v1.Index, ref string) error {
	if all := tagsOf(idx, ref); len(all) > 0 {
		for _, d := range all {
			if err := p.addEntry(idx, d, []string{store.RefName(d)}); err != nil {
				return err
			}
		}
		return nil
	}
	d, err := catalog{p.s, idx}.resolve(ref)
	if err != nil {
		return err
	}
	names, err := parseTags(p.o.Names)
	if err != nil {
		return err
	}
	if name, err := parseTag(ref); err == nil && len(names) == 0 && slices.Contains(store.NamesOf(idx, d.Digest), name) {
		names = []string{name}
	}
	return p.addEntry(idx, d, names)
}

// Tags returns the names of a repository that are in the store. The error is
// ErrNotFound if there are none.
func (s *Store) Tags(ctx context.Context, repository string) ([]string, error) {
	idx, err := s.Index()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, d := range tagsOf(idx, repository) {
		names = append(names, store.RefName(d))
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%w of a repository %s (without a tag)", ErrNotFound, repository)
	}
	return names, ctx.Err()
}

// tagsOf returns the entries of a repository that ref names without a tag.
func tagsOf(idx *v1.Index, ref string) []v1.Descriptor {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil || !reference.IsNameOnly(named) {
		return nil
	}
	var out []v1.Descriptor
	for _, m := range idx.Manifests {
		if store.IsImage(m) && !strings.Contains(store.RefName(m), "@") && repoOf(store.RefName(m)) == named.Name() {
			out = append(out, m)
		}
	}
	return out
}

func (p *saved) addEntry(idx *v1.Index, d v1.Descriptor, names []string) error {
	d, members, err := wanted(p.s, d, p.o.Platform)
	if err != nil {
		return err
	}
	if len(members) == 0 {
		return fmt.Errorf("%w: nothing of %s is here", ErrNotFound, d.Digest)
	}
	// docker's list knows no platforms, and a tag in it is one image: the one that
	// this host would run, or else the first.
	listed := members[0].Digest
	if fitting := best(members, HostPlatform()); len(fitting) > 0 {
		listed = fitting[0].Digest
	}
	var written []v1.Descriptor
	for _, m := range members {
		w, err := p.addImage(m, names, m.Digest == listed)
		if err != nil {
			return err
		}
		w.Platform = m.Platform
		written = append(written, w)
		if !p.o.Referrers && p.o.Format != DockerArchive {
			continue
		}
		if err := p.addArtifacts(idx, m.Digest); err != nil {
			return err
		}
	}
	entry := written[0]
	if store.IsIndex(d) {
		if entry, err = p.addIndex(d, written); err != nil {
			return err
		}
	}
	if len(names) == 0 {
		names = []string{""}
	}
	for _, name := range names {
		e := v1.Descriptor{MediaType: entry.MediaType, Digest: entry.Digest, Size: entry.Size}
		if name != "" {
			e = store.Named(e, name)
			e.Annotations[annotationImageName] = name
		}
		p.index.Manifests = append(p.index.Manifests, e)
	}
	return nil
}

// addIndex keeps an index as it is if all of it is here, and else writes one
// of what is.
func (p *saved) addIndex(d v1.Descriptor, written []v1.Descriptor) (v1.Descriptor, error) {
	data, err := store.ReadDocument(p.s, d)
	if err != nil {
		return d, err
	}
	if whole, err := store.ParseIndex(data); err == nil && d.MediaType == v1.MediaTypeImageIndex && sameDigests(whole.Manifests, written) {
		p.blob(d)
		return d, nil
	}
	idx := store.NewIndex()
	idx.Manifests = written
	return p.document(idx, v1.MediaTypeImageIndex)
}

func sameDigests(a, b []v1.Descriptor) bool {
	return slices.EqualFunc(a, b, func(x, y v1.Descriptor) bool { return x.Digest == y.Digest })
}

// addImage plans the blobs of one image and returns what its manifest is.
func (p *saved) addImage(d v1.Descriptor, names []string, listed bool) (v1.Descriptor, error) {
	img, err := store.LoadImage(p.s, d)
	if err != nil {
		return d, err
	}
	out := v1.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
	if p.o.Format != DockerArchive && d.MediaType == store.DockerManifest {
		if out, err = p.document(ociManifest(img), v1.MediaTypeImageManifest); err != nil {
			return d, err
		}
	} else {
		p.blob(out)
	}
	p.blob(img.Manifest.Config)
	entry := dockerImage{Config: blobName(img.ConfigDigest), RepoTags: []string{}, Layers: []string{}}
	for _, l := range img.Manifest.Layers {
		p.blob(l)
		entry.Layers = append(entry.Layers, blobName(l.Digest))
	}
	for _, n := range names {
		entry.RepoTags = append(entry.RepoTags, Familiar(n))
	}
	if listed {
		p.docker = append(p.docker, entry)
	}
	return out, nil
}

// ociManifest is the manifest of an image in OCI's terms.
func ociManifest(img *Image) v1.Manifest {
	m := v1.Manifest{MediaType: v1.MediaTypeImageManifest, Config: img.Manifest.Config, Layers: []v1.Descriptor{}, Annotations: img.Manifest.Annotations}
	m.SchemaVersion = 2
	m.Config.MediaType = v1.MediaTypeImageConfig
	for _, l := range img.Manifest.Layers {
		m.Layers = append(m.Layers, ociLayer(l))
	}
	return m
}

// addArtifacts plans what is kept about an image.
func (p *saved) addArtifacts(idx *v1.Index, subject digest.Digest) error {
	for _, m := range idx.Manifests {
		if !store.IsAbout(p.s, m, subject) {
			continue
		}
		a, err := store.LoadArtifact(p.s, m)
		if err != nil {
			return err
		}
		p.blob(m)
		if a.Config.Digest == v1.DescriptorEmptyJSON.Digest {
			p.data[a.Config.Digest] = v1.DescriptorEmptyJSON.Data
		}
		p.blob(a.Config)
		p.blob(a.Blob)
		p.index.Manifests = append(p.index.Manifests, m)
	}
	return nil
}

func (p *saved) blob(d v1.Descriptor) {
	if !slices.ContainsFunc(p.blobs, func(b v1.Descriptor) bool { return b.Digest == d.Digest }) {
		p.blobs = append(p.blobs, d)
	}
}

// document plans a blob that the store has not.
func (p *saved) document(v any, mediaType string) (v1.Descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return v1.Descriptor{}, err
	}
	d := v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	p.data[d.Digest] = data
	p.blob(d)
	return d, nil
}

func blobName(d digest.Digest) string { return v1.ImageBlobsDir + "/sha256/" + d.Encoded() }

// target is where an image layout is written.
type target interface {
	file(name string, size int64, r io.Reader) error
}

func (p *saved) write(ctx context.Context, t target) error {
	document := func(name string, v any) error {
		data, err := json.Marshal(v)
		if err != nil {
			return err
		}
		return t.file(name, int64(len(data)), strings.NewReader(string(data)))
	}
	for _, d := range p.blobs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.writeBlob(t, d); err != nil {
			return err
		}
	}
	err := document(v1.ImageIndexFile, p.index)
	if err == nil && p.o.Format == DockerArchive {
		err = document(dockerManifestFile, p.docker)
	}
	if err != nil {
		return err
	}
	return document(v1.ImageLayoutFile, v1.ImageLayout{Version: v1.ImageLayoutVersion})
}

func (p *saved) writeBlob(t target, d v1.Descriptor) error {
	if data, ok := p.data[d.Digest]; ok {
		return t.file(blobName(d.Digest), int64(len(data)), strings.NewReader(string(data)))
	}
	r, err := p.s.OpenBlob(d)
	if err != nil {
		return err
	}
	return errors.Join(t.file(blobName(d.Digest), d.Size, r), r.Close())
}

type tarTarget struct{ tw *tar.Writer }

func (t tarTarget) file(name string, size int64, r io.Reader) error {
	if err := t.tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size}); err != nil {
		return err
	}
	return copyAll(t.tw, r, size)
}

type dirTarget string

func (t dirTarget) file(name string, size int64, r io.Reader) error {
	path := filepath.Join(string(t), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // for other programs to read
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // for other programs to read
	if err != nil {
		return err
	}
	return errors.Join(copyAll(f, r, size), f.Close())
}

// copyAll copies to the end, which is where a blob is known to be sound.
func copyAll(w io.Writer, r io.Reader, size int64) error {
	n, err := io.Copy(w, r)
	if err == nil && n != size {
		return fmt.Errorf("%w: %d bytes instead of %d", ErrCorrupt, n, size)
	}
	return err
}
