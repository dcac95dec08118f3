// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"fmt"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/rootfs"
)

// HostPlatform is that of this machine.
func HostPlatform() v1.Platform {
	return rootfs.HostPlatform()
}

// ParsePlatform reads OS[/ARCH[/VARIANT]], or an architecture alone, and gives
// it in the normal form. Only linux can be built for.
func ParsePlatform(s string) (v1.Platform, error) {
	if strings.EqualFold(s, "local") {
		return HostPlatform(), nil
	}
	p, err := rootfs.ParsePlatform(s)
	if err != nil {
		return p, hint.With(fmt.Errorf("%q is not a platform", visible.Bounded(s, 60)), "use for example linux/amd64, linux/arm64 or linux/arm/v7")
	}
	if p.OS != "linux" {
		return p, hint.With(fmt.Errorf("platform %s: only images for linux can be built", visible.Bounded(s, 60)), "for example linux/amd64 or linux/arm64")
	}
	return v1.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}, nil
}

// FormatPlatform is the short form, which Dockerfiles see.
func FormatPlatform(p v1.Platform) string {
	if p.Variant == "" {
		return p.OS + "/" + p.Architecture
	}
	return p.OS + "/" + p.Architecture + "/" + p.Variant
}

// platformArgs are the automatic arguments; a stage sees those that it declares.
func platformArgs(target v1.Platform, stage string) map[string]string {
	if stage == "" {
		stage = "default"
	}
	m := map[string]string{"TARGETSTAGE": stage}
	for side, p := range map[string]v1.Platform{"TARGET": target, "BUILD": HostPlatform()} {
		m[side+"PLATFORM"] = FormatPlatform(p)
		m[side+"OS"] = p.OS
		m[side+"OSVERSION"] = p.OSVersion
		m[side+"ARCH"] = p.Architecture
		m[side+"VARIANT"] = p.Variant
	}
	return m
}
