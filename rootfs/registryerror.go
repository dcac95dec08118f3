// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// explainRemote gives the errors of the registry client their sentinels. An
// answer with a status comes from a registry; where there was none, the
// network is to blame.
func explainRemote(err error) error {
	var answer *transport.Error
	var request *url.Error
	var network net.Error
	switch {
	case errors.Is(err, ErrCorrupt), errors.Is(err, context.Canceled):
		return err
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
		return fmt.Errorf("%w, or it is not public and needs `docker login`: %w", ErrNotFound, err)
	case status >= http.StatusInternalServerError:
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return err
}
