// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"os"
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
		"Generating a self-signed certificate for localhost":                                                                           false,
		"ERROR: DEPTH_ZERO_SELF_SIGNED_CERT downloading package manifest":                                                              true,
		"The remote certificate is invalid because of errors in the certificate chain: UntrustedRoot":                                  true,
		"": false,
	} {
		err := failed(t, "before\n\x1b[31m"+line+"\x1b[0m")
		if has := strings.Contains(hint.Of(err), "--host-ca"); has != want {
			t.Errorf("%q: %v, want %v", line, has, want)
		}
	}
}

// failed is the error of a step that writes text and exits with 1.
func failed(t *testing.T, text string) error {
	t.Helper()
	out := newRunOutput(silent{}, Vertex{})
	if _, err := out.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	out.flush()
	return out.hint(t.Context(), &ExitError{Code: 1})
}

// What the programs themselves wrote when they met an authority that they did not know:
// recorded on Debian 12.
func TestCertificateHintOfPrograms(t *testing.T) {
	recorded, err := os.ReadFile("testdata/distrusted.txt")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, section := range strings.Split(string(recorded), "== ")[1:] {
		about, text, _ := strings.Cut(section, "\n")
		program, _, _ := strings.Cut(about, ":")
		seen[program]++
		if err := failed(t, text); !strings.Contains(hint.Of(err), "--host-ca") {
			t.Errorf("%s: %v, %q", about, err, hint.Of(err))
		}
	}
	for _, program := range []string{"apt", "curl", "git", "go", "java", "node", "npm", "pip", "python", "requests", "wget"} {
		if seen[program] == 0 {
			t.Errorf("nothing of %s was recorded", program)
		}
	}
}
