// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !amd64

package main

func calls32() map[string]int { return nil }

func callsx32() map[string]int { return nil }
