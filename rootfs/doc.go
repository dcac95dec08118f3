// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package rootfs keeps images on disk and turns them into root file systems.
package rootfs
