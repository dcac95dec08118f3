// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	goruntime "runtime"
	"slices"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// HostPlatform is that of this machine.
func HostPlatform() v1.Platform {
	return normalPlatform(v1.Platform{OS: "linux", Architecture: goruntime.GOARCH})
}

// architectures are the names that Go and so the image specification know.
func architectures() []string {
	return []string{"386", "amd64", "arm", "arm64", "loong64", "mips64", "mips64le", "ppc64le", "riscv64", "s390x"}
}

// ParsePlatform reads OS[/ARCH[/VARIANT]], or an architecture alone, and gives
// it in the normal form: linux/aarch64 is linux/arm64, linux/arm is linux/arm/v7.
func ParsePlatform(s string) (v1.Platform, error) {
	parts := strings.Split(strings.ToLower(s), "/")
	bad := withHint(fmt.Errorf("%q is no platform", bounded(visible(s), 60)), "write for example linux/amd64, linux/arm64 or linux/arm/v7")
	p := HostPlatform()
	switch {
	case len(parts) > 3 || slices.Contains(parts, ""):
		return p, bad
	case len(parts) == 1 && parts[0] == "linux":
		return p, nil
	case len(parts) == 1 && parts[0] == "local":
		return p, nil
	case len(parts) == 1:
		p = v1.Platform{OS: "linux", Architecture: parts[0]}
	default:
		p = v1.Platform{OS: parts[0], Architecture: parts[1]}
	}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	p = normalPlatform(p)
	if p.OS != "linux" {
		return p, withHint(fmt.Errorf("platform %s: only images for linux can be built", bounded(visible(s), 60)), "for example linux/amd64 or linux/arm64")
	}
	if !slices.Contains(architectures(), p.Architecture) {
		return p, bad
	}
	return p, nil
}

// normalPlatform gives architectures the one name they have in images.
func normalPlatform(p v1.Platform) v1.Platform {
	switch p.Architecture {
	case "x86_64", "x86-64":
		p.Architecture = "amd64"
	case "i386", "i686":
		p.Architecture = "386"
	case "aarch64":
		p.Architecture = "arm64"
	case "armhf":
		p.Architecture, p.Variant = "arm", "v7"
	case "armel":
		p.Architecture, p.Variant = "arm", "v6"
	}
	switch {
	case p.Architecture == "arm64" && (p.Variant == "8" || p.Variant == "v8"):
		p.Variant = ""
	case p.Architecture == "amd64" && p.Variant == "v1":
		p.Variant = ""
	case p.Architecture == "arm" && p.Variant == "":
		p.Variant = "v7"
	case p.Architecture == "arm" && !strings.HasPrefix(p.Variant, "v"):
		p.Variant = "v" + p.Variant
	}
	return p
}

// formatPlatform is the short form, which Dockerfiles see.
func formatPlatform(p v1.Platform) string {
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
		m[side+"PLATFORM"] = formatPlatform(p)
		m[side+"OS"] = p.OS
		m[side+"OSVERSION"] = p.OSVersion
		m[side+"ARCH"] = p.Architecture
		m[side+"VARIANT"] = p.Variant
	}
	return m
}
