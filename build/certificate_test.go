// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"strings"
	"testing"

	"github.com/claude-pocket-console/cpc/internal/hint"
)

// What programs say of an authority that they do not know is told from other
// failures, and the failure of the step then names --host-ca.
func TestCertificateHint(t *testing.T) {
	for line, want := range map[string]bool{
		"curl: (60) SSL certificate problem: unable to get local issuer certificate":                                                   true,
		"npm error code SELF_SIGNED_CERT_IN_CHAIN":                                                                                     true,
		"npm error code UNABLE_TO_GET_ISSUER_CERT_LOCALLY":                                                                             true,
		"npm ERR! request to https://x failed, reason: unable to verify the first certificate":                                         true,
		"ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate (_ssl.c:1)": true,
		"fatal: unable to access 'https://x/': server certificate verification failed. CAfile: none":                                   true,
		"Certificate verification failed: The certificate is NOT trusted. The certificate issuer is unknown.":                          true,
		"ERROR: cannot verify example.com's certificate, issued by 'CN=x':":                                                            true,
		`go: x@v1: Get "https://proxy.golang.org/x": tls: failed to verify certificate: x509: certificate signed by unknown authority`: true,
		"sun.security.validator.ValidatorException: PKIX path building failed":                                                         true,
		"error: invalid peer certificate: UnknownIssuer":                                                                               true,
		"Error: cannot verify the checksum of archive.tar.gz":                                                                          false,
		"curl: (6) Could not resolve host: example.com":                                                                                false,
		"installing ca-certificates (20250419)":                                                                                        false,
		"":                                                                                                                             false,
	} {
		out := newStepOutput(silent{}, StepInfo{})
		if _, err := fmt.Fprintf(out, "before\n\x1b[31m%s\x1b[0m", line); err != nil {
			t.Fatal(err)
		}
		out.flush()
		err := out.hint(t.Context(), &ExitError{Code: 1})
		if has := strings.Contains(hint.Of(err), "--host-ca"); has != want {
			t.Errorf("%q: %v, want %v", line, has, want)
		}
	}
}
