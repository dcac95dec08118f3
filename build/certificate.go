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
// not trusted. These are the words of OpenSSL (curl, pip, Ruby), GnuTLS (apt, git,
// wget), Node (npm, yarn), Go, Java and Rust (cargo, uv).
func distrusts(line string) bool {
	if !strings.ContainsAny(line, "cC") {
		return false
	}
	line = strings.ToLower(line)
	return slices.ContainsFunc([]string{
		"ssl certificate problem", "certificate verify failed", "certificate_verify_failed", "server certificate verification failed",
		"certificate verification failed", "certificate is not trusted", "cannot verify", "unable to get local issuer certificate",
		"unable_to_get_issuer_cert", "unable to verify the first certificate", "unable_to_verify_leaf_signature", "self-signed certificate",
		"self signed certificate", "self_signed_cert_in_chain", "certificate signed by unknown authority", "certificate issuer is unknown",
		"pkix path building failed", "invalid peer certificate", "unknownissuer", "certificate issuer is not",
	}, func(words string) bool {
		return strings.Contains(line, words) && (words != "cannot verify" || strings.Contains(line, "certificate"))
	})
}
