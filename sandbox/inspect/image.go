// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"cmp"
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/rootfs"
)

// Image is an image as cpc inspect shows it.
type Image struct {
	ID           string `json:"Id"` // digest of the config, docker's image id
	Digest       string // of the manifest
	RepoTags     []string
	RepoDigests  []string
	Comment      string
	Created      string `json:",omitempty"`
	Author       string
	Architecture string
	Variant      string `json:",omitempty"`
	Os           string
	Size         int64 // bytes, compressed
	Config       imageConfig
	RootFS       rootFS
	History      any
	noImageFields
}

type imageConfig struct {
	v1.ImageConfig
	Healthcheck *rootfs.Healthcheck `json:",omitempty"`
	Shell       []string            `json:",omitempty"`
	OnBuild     []string            `json:",omitempty"`
	noImageConfigFields
}

type rootFS struct {
	Type   string
	Layers []digest.Digest
}

// OfImage returns what there is to show of an image.
func OfImage(img *rootfs.Image) Image {
	c := img.Config
	v := Image{
		ID: img.ConfigDigest.String(), Digest: img.Digest.String(), RepoTags: []string{}, RepoDigests: []string{},
		Author: c.Author, Architecture: c.Architecture, Variant: c.Variant, Os: c.OS, Size: img.Size,
		Config:  imageConfig{ImageConfig: c.Config, Healthcheck: c.Docker.Healthcheck, Shell: c.Docker.Shell, OnBuild: c.Docker.OnBuild},
		RootFS:  rootFS{c.RootFS.Type, c.RootFS.DiffIDs},
		History: c.History,
	}
	if c.Created != nil {
		v.Created = stamp(*c.Created)
	}
	for _, name := range img.Names {
		name = rootfs.Familiar(name)
		repository, tag := rootfs.SplitTag(name)
		if tag != "<none>" {
			v.RepoTags = append(v.RepoTags, name)
		}
		pinned := repository + "@" + cmp.Or(img.Index, img.Digest).String()
		if !slices.Contains(v.RepoDigests, pinned) {
			v.RepoDigests = append(v.RepoDigests, pinned)
		}
	}
	if n := len(c.History); n > 0 {
		v.Comment = c.History[n-1].Comment
	}
	return v
}
