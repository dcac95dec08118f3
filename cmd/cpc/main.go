// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Command cpc builds, runs and looks after sandboxes.
package main

func main() {}
