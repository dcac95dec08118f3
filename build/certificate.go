// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"slices"
	"strings"
)

// certificateHint is for steps that met a certificate of an authority they do not
// know, as behind a company's proxy or mirror.
const certificateHint = "a program did not trust a server's certificate: behind a company's proxy or mirror, build with --host-ca, " +
	"which lets steps trust what this machine trusts, or with --host-ca=FILE"

// distrusts reports whether a line of a step's output says that a certificate is
// not trusted. Each entry is the words of some programs, all of which have to be in the
// line: OpenSSL (curl, pip, Ruby, Perl), GnuTLS (apt, git, wget), Node (npm, yarn, bun),
// Go, Java, Rust (cargo, uv), .NET, Erlang and apk. A step may make self-signed
// certificates itself, so these words alone say nothing.
func distrusts(line string) bool {
	if !strings.ContainsAny(line, "cC") {
		return false
	}
	line = strings.ToLower(line)
	return slices.ContainsFunc([][]string{
		{"ssl certificate problem"},
		{"ssl peer certificate"},
		{"certificate verify failed"},
		{"certificate_verify_failed"},
		{"unable to get local issuer certificate"},
		{"certificate verification failed"},
		{"certificate is not trusted"},
		{"certificate issuer is"},
		{"certificate of", "is not trusted"},
		{"certificate of", "known issuer"},
		{"cannot verify", "certificate"},
		{"unable_to_get_issuer_cert"},
		{"unable to verify the first certificate"},
		{"unable_to_verify_leaf_signature"},
		{"self_signed_cert"},
		{"reason: self", "signed certificate"},
		{"error: self", "signed certificate"},
		{"certificate signed by unknown authority"},
		{"pkix path building failed"},
		{"unable to find valid certification path"},
		{"invalid peer certificate"},
		{"unknownissuer"},
		{"remote certificate is invalid"},
		{"fatal - unknown ca"},
		{"server certificate not trusted"},
	}, func(words []string) bool {
		return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) })
	})
}
