// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Command probe is a program in the sandbox that tries what no shell can.
package main

func main() {}
