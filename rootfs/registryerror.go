// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"

	gcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/claude-pocket-console/cpc/rootfs/registry"
)

// ErrRateLimit is the error where the registry has been asked too often.
var ErrRateLimit = errors.New("too many requests")

// ownFault reports an error that no other place to pull from would mend.
func ownFault(err error) bool {
	return errors.Is(err, ErrCorrupt) || noRoom(err)
}

// noPlatform words the error for a list without the platform.
func noPlatform(err error, p gcr.Platform) error {
	var answer *transport.Error
	if errors.As(err, &answer) || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w for platform %s: %w", ErrNotFound, p.String(), err)
}

// ExplainRemote gives the errors of the registry client their sentinels. An
// answer with a status comes from a registry; where there was none, the
// network is to blame.
func ExplainRemote(err error) error {
	var limited *registry.RateLimitError
	var certificate *tls.CertificateVerificationError
	var plain *registry.PlainError
	var answer *transport.Error
	var request *url.Error
	var network net.Error
	switch {
	case ownFault(err), errors.Is(err, context.Canceled), errors.Is(err, ErrNotFound):
		return err
	case errors.As(err, &limited):
		return fmt.Errorf("%w: %w", ErrRateLimit, limited)
	case errors.As(err, &certificate), errors.As(err, &plain):
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	case errors.As(err, &answer):
		return explainAnswer(err, answer.StatusCode)
	case errors.As(err, &request), errors.As(err, &network):
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return err
}

func explainAnswer(err error, status int) error {
	switch {
	case status == http.StatusNotFound:
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		// Registries say this of what does not exist, too.
		return fmt.Errorf("%w, or it is not public and needs `cpc login`: %w", ErrNotFound, err)
	case status >= http.StatusInternalServerError:
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return err
}
