// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/rootfs/registry"
	"github.com/claude-pocket-console/cpc/rootfs/store"
)

// reach is a name's place in its registry, and how to ask there.
func reach(ctx context.Context, client *registry.Client, image string) (name.Reference, []remote.Option, error) {
	canonical, err := ParseReference(image)
	if err != nil {
		return nil, nil, err
	}
	ref, err := client.Parse(canonical)
	if err != nil {
		return nil, nil, err
	}
	o, err := client.Options(ctx, ref.Context().Registry)
	return ref, o, err
}

// RemoteTags lists the tags of a repository in its registry.
func RemoteTags(ctx context.Context, client *registry.Client, repository string) ([]string, error) {
	ref, o, err := reach(ctx, client, repository)
	if err != nil {
		return nil, err
	}
	tags, err := remote.List(ref.Context(), o...)
	if err != nil {
		return nil, fmt.Errorf("list tags of %s: %w", strings.TrimSuffix(Familiar(ref.Name()), ":latest"), ExplainRemote(err))
	}
	return tags, nil
}

// RemoteReferrers lists what a registry keeps about an image.
func RemoteReferrers(ctx context.Context, client *registry.Client, image string) ([]v1.Descriptor, error) {
	ref, o, err := reach(ctx, client, image)
	if err != nil {
		return nil, err
	}
	desc, err := remote.Head(ref, o...)
	if err != nil {
		return nil, fmt.Errorf("referrers of %s: %w", image, ExplainRemote(err))
	}
	all, err := referrersOf(ref.Context().Digest(desc.Digest.String()), o)
	if err != nil {
		return nil, fmt.Errorf("referrers of %s: %w", image, ExplainRemote(err))
	}
	return all, nil
}

// referrersOf asks for what refers to a manifest, by the registry's list or the
// tag that stands for it where there is none.
func referrersOf(of name.Digest, o []remote.Option) ([]v1.Descriptor, error) {
	found, err := remote.Referrers(of, o...)
	if err != nil {
		return nil, err
	}
	raw, err := found.RawManifest()
	if err != nil {
		return nil, err
	}
	idx, err := store.ParseIndex(raw)
	if err != nil {
		return nil, err
	}
	return idx.Manifests, nil
}
