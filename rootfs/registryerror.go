// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/internal/outbound"
	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/rootfs/registry"
	"github.com/claude-pocket-console/cpc/rootfs/store"
)

// ErrRateLimit is the error where the registry has been asked too often.
var ErrRateLimit = hint.New("too many requests",
	"Wait, or log in with: cpc login (users have higher limits), or set a mirror in config.toml; see docs/registry.md.")

// ownFault reports an error that no other place to pull from would mend.
func ownFault(err error) bool {
	return errors.Is(err, ErrCorrupt) || store.NoRoom(err)
}

// settleType finds out whether an image or a list of images came, also from
// servers that call all documents JSON, and refuses what is neither.
func settleType(desc *remote.Descriptor) error {
	if len(desc.Manifest) > store.MaxDocument {
		return fmt.Errorf("manifest %s: %d bytes are too many: at most %d are read", desc.Digest, len(desc.Manifest), store.MaxDocument)
	}
	var said struct {
		SchemaVersion int
		MediaType     types.MediaType
		Manifests     json.RawMessage
	}
	if err := json.Unmarshal(desc.Manifest, &said); err != nil {
		return fmt.Errorf("manifest %s: %w: %s that cannot be parsed: %w", desc.Digest, ErrArrival, oneWord(string(desc.MediaType)), err)
	}
	switch {
	case desc.MediaType.IsSchema1(), said.SchemaVersion == 1:
		return fmt.Errorf("%w: its manifest is of docker's schema 1, which registries have given up: push the image again with a current docker, podman or skopeo", ErrNoImage)
	case desc.MediaType.IsImage(), desc.MediaType.IsIndex():
	case said.MediaType.IsImage(), said.MediaType.IsIndex():
		desc.MediaType = said.MediaType
	case said.Manifests != nil:
		desc.MediaType = types.OCIImageIndex
	default:
		desc.MediaType = types.OCIManifestSchema1
	}
	return nil
}

// checkParts refuses what looks like an image, and is something else, or has
// layers that cannot be read.
func checkParts(m v1.Manifest) error {
	switch m.Config.MediaType {
	case v1.MediaTypeImageConfig, store.DockerConfigType, "", "application/octet-stream", "text/plain":
	default:
		kind := m.ArtifactType
		if kind == "" {
			kind = m.Config.MediaType
		}
		return fmt.Errorf("%w but an artifact of the type %s", ErrNoImage, oneWord(kind))
	}
	for _, l := range m.Layers {
		if strings.HasSuffix(l.MediaType, "+encrypted") {
			return fmt.Errorf("%w: layer %s is encrypted (%s), which is not supported", ErrNoImage, l.Digest, oneWord(l.MediaType))
		}
	}
	return nil
}

// foreign words the error for a layer that its registry does not keep.
func foreign(err error, d v1.Descriptor) error {
	answer, ok := errors.AsType[*transport.Error](err)
	if ok && answer.StatusCode == http.StatusNotFound && len(d.URLs) > 0 {
		return fmt.Errorf("%w: the registry does not keep this layer, but names an address (%.200q); layers are not fetched from addresses that an image names: copy the image with its layers, for example with skopeo", ErrNoImage, d.URLs[0])
	}
	return err
}

// oneWord is a registry's word as it can be shown.
func oneWord(s string) string {
	shown := visible.Bounded(s, 100)
	if shown == s && s != "" && !strings.ContainsFunc(s, unicode.IsSpace) {
		return s
	}
	return strconv.Quote(shown)
}

// ofImage words the error for a part of an image whose manifest the registry has:
// what is missing or refused then is not the image.
func ofImage(err error, part string) error {
	answer, ok := errors.AsType[*transport.Error](err)
	switch {
	case ok && answer.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%w: the registry does not have %s: %w", ErrIncomplete, part, err)
	case ok && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden):
		return fmt.Errorf("%w: the registry refuses %s: %w", ErrIncomplete, part, err)
	}
	return fmt.Errorf("%s: %w", part, err)
}

// ExplainRemote gives the errors of the registry client their sentinels. An
// answer with a status comes from a registry; where there was none, the
// network is to blame. The registry's words in it are made fit to be shown.
func ExplainRemote(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	return answerError{explainRemote(err)}
}

func explainRemote(err error) error {
	err = withoutTLS(err)
	if sentinel := ofTransport(err); sentinel != nil {
		return fmt.Errorf("%w: %w", sentinel, err)
	}
	var limited *registry.RateLimitError
	var answer *transport.Error
	var request *url.Error
	var refused *outbound.RefusedError
	var without *registry.WithoutTLSError
	var network *net.OpError // net.Error would be any error of a system call
	switch {
	case ownFault(err), errors.Is(err, ErrNotFound), errors.Is(err, ErrNoImage), errors.Is(err, ErrIncomplete):
		return err
	case errors.As(err, &limited):
		return fmt.Errorf("%w: %w", ErrRateLimit, limited)
	case errors.As(err, &refused):
		return fmt.Errorf("%w: %w", ErrSentAway, refused)
	case errors.As(err, &answer):
		return explainAnswer(err, answer)
	case errors.As(err, &request), errors.As(err, &network), errors.As(err, &without):
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return err
}

// withoutTLS is the error that counts of a registry on this machine that has no TLS.
// It is asked with TLS and without.
func withoutTLS(err error) error {
	var record tls.RecordHeaderError
	if !errors.As(err, &record) && !errors.Is(err, http.ErrSchemeMismatch) {
		return err
	}
	if answer, ok := errors.AsType[*transport.Error](err); ok {
		return answer
	}
	if plain, ok := errors.AsType[*registry.WithoutTLSError](err); ok {
		return plain
	}
	return err
}

// ofTransport is the sentinel where it cannot be known that the registry is the
// right one.
func ofTransport(err error) error {
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var plain *registry.PlainError
	if errors.As(err, &certificate) || errors.As(err, &plain) || errors.As(err, &record) || errors.Is(err, http.ErrSchemeMismatch) {
		return ErrUntrusted
	}
	return nil
}

// maxAnswer bounds what is shown of a registry's answer, in characters.
const maxAnswer = 600

// answerError is an error whose words are in part a registry's.
type answerError struct{ error }

func (e answerError) Error() string {
	return visible.Bounded(registry.Addresses(remoteWords(e.error)), maxAnswer)
}
func (e answerError) Unwrap() error { return e.error }

func explainAnswer(err error, answer *transport.Error) error {
	path := ""
	if answer.Request != nil {
		path = answer.Request.URL.Path
	}
	switch status := answer.StatusCode; {
	case status == http.StatusNotFound && path == apiRoot:
		return fmt.Errorf("%w: %w", ErrNoRegistry, err)
	case status == http.StatusNotFound && strings.HasPrefix(path, apiRoot):
		return fmt.Errorf("%w: %w", ErrNotInRegistry, err)
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		// Registries say this of what does not exist, too.
		return fmt.Errorf("%w, or it is not public and needs `cpc login`: %w", ErrNotInRegistry, err)
	case status == http.StatusNotFound, status >= http.StatusInternalServerError:
		return fmt.Errorf("%w: %w", ErrFailing, err)
	}
	return err
}

// apiRoot is what a registry is asked first.
const apiRoot = "/v2/"
