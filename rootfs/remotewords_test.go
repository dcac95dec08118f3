// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sys/unix"
)

// several is like the registry client's own type, which does not unwrap.
type several []error

func (s several) Error() string { return s[0].Error() + "; " + s[1].Error() }
func (s several) As(to any) bool {
	return errors.As(s[0], to)
}

// Errors of registries say which host and why, without the words of Go's libraries.
func TestRemoteWords(t *testing.T) {
	get := func(scheme string, err error) error {
		return &url.Error{Op: "Get", URL: scheme + "://r.example/v2/", Err: err}
	}
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", unix.ECONNREFUSED)}
	request, err := http.NewRequest(http.MethodHead, "https://r.example/v2/x/blobs/y?token=secret", nil)
	if err != nil {
		t.Fatal(err)
	}
	var text *json.SyntaxError
	if err := json.Unmarshal([]byte("<html>"), &struct{}{}); !errors.As(err, &text) {
		t.Fatal(err)
	}
	for _, c := range []struct {
		err  error
		want string
	}{
		{get("https", refused), "registry unreachable: r.example: connection refused"},
		{fmt.Errorf("layer 1: %w", get("https", refused)), "registry unreachable: layer 1: r.example: connection refused"},
		{several{get("https", refused), get("http", refused)}, "registry unreachable: r.example: connection refused"},
		{several{get("https", refused), get("http", io.EOF)}, "registry unreachable: r.example: connection refused; r.example: the connection was closed without an answer"},
		{get("https", &net.OpError{Op: "dial", Err: &net.DNSError{Name: "r.example", Server: "10.0.0.1:53", IsNotFound: true}}), "registry unreachable: r.example: no such host"},
		{get("https", &net.DNSError{Name: "r.example", IsTimeout: true}), "registry unreachable: r.example: the name server does not answer"},
		{get("https", os.ErrDeadlineExceeded), "registry unreachable: r.example: no answer in time"},
		{&transport.Error{StatusCode: 418, Request: request}, "HEAD https://r.example/v2/x/blobs/y: 418 I'm a teapot"},
		{&transport.Error{StatusCode: 400, Request: request, Errors: []transport.Diagnostic{{Code: "NAME_INVALID", Message: "no", Detail: map[string]int{"a": 1}}}}, "HEAD https://r.example/v2/x/blobs/y: NAME_INVALID: no"},
		{fmt.Errorf("list tags: %w", text), "list tags: the answer is not JSON: byte 1: invalid character '<' looking for beginning of value"},
		{errors.New("something else"), "something else"},
	} {
		if got := ExplainRemote(c.err).Error(); got != c.want || strings.Contains(got, "secret") {
			t.Errorf("%v:\ngot  %s\nwant %s", c.err, got, c.want)
		}
	}
}
