// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package dockerflag parses the values of docker's command line flags as
// docker does: sizes, processor shares, tmpfs mounts, ulimits, environments,
// capabilities, security options, users, names, signals, detach keys.
//
// It is pure: what comes from the host (processors, environment) is an
// argument. Where docker takes a value that cpc cannot honour, or lets through
// what the kernel later refuses, there is an error that names the value.
// Values may come from a Dockerfile or an image, so nothing here trusts them.
package dockerflag
