// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package sbom

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/claude-pocket-console/cpc/internal/beside"
	"github.com/claude-pocket-console/cpc/internal/bounded"
	"github.com/claude-pocket-console/cpc/internal/hint"
)

// Request is what cpc-scan is asked: one of its fields.
type Request struct {
	// Version is the protocol's.
	Version int `json:"version"`
	// Inventory asks for what is below the working directory, an image's root,
	// and for documents about it.
	Inventory *Subject `json:"inventory,omitempty"`
	// Match asks for what advisories say about packages.
	Match *Match `json:"match,omitempty"`
}

// Match are packages, and the files and directories of advisories.
type Match struct {
	Packages []Package `json:"packages"`
	Paths    []string  `json:"paths"` // absolute
}

// Response is what cpc-scan answers.
type Response struct {
	Inventory *Inventory `json:"inventory,omitempty"`
	// SPDX and CycloneDX are the documents.
	SPDX      []byte  `json:"spdx,omitempty"`
	CycloneDX []byte  `json:"cyclonedx,omitempty"`
	Result    *Result `json:"result,omitempty"`
	// Error is why there is no answer.
	Error string `json:"error,omitempty"`
}

// DocumentTypes are the media types that an image's bill of materials is kept in.
func DocumentTypes() []string { return []string{SPDXType, CycloneDXType} }

// Document returns the document of a type, of those that an inventory comes with.
func (r *Response) Document(mediaType string) []byte {
	switch mediaType {
	case SPDXType:
		return r.SPDX
	case CycloneDXType:
		return r.CycloneDX
	}
	return nil
}

// Version is the protocol's: cpc and cpc-scan are installed together.
const Version = 1

const (
	programName = "cpc-scan"
	maxRequest  = 256 << 20
	maxResponse = 512 << 20
	maxStderr   = 4 << 10
	maxTime     = 15 * time.Minute
)

// ErrNoProgram reports that cpc-scan is not where it should be.
var ErrNoProgram = hint.New("cpc-scan not found",
	"Install cpc-scan beside cpc (make install). cpc build --sbom=false works without it.")

// Program is cpc-scan.
type Program struct{ path string }

// Find looks for cpc-scan beside this program, or in PATH.
func Find() (Program, error) {
	path, err := beside.Find(programName)
	if err != nil {
		return Program{}, fmt.Errorf("%w: it belongs beside cpc, or in PATH", ErrNoProgram)
	}
	return Program{path}, nil
}

// Inventory returns what the image whose root is dir contains, with documents.
func (p Program) Inventory(ctx context.Context, dir string, about Subject) (*Response, error) {
	r, err := p.ask(ctx, dir, Request{Inventory: &about})
	if err == nil && r.Inventory == nil {
		err = fmt.Errorf("%s: no inventory in its answer", p.path)
	}
	return r, err
}

// Match returns what the advisories in paths say about packages.
func (p Program) Match(ctx context.Context, packages []Package, paths []string) (*Result, error) {
	m := Match{Packages: packages}
	for _, path := range paths {
		absolute, err := filepath.Abs(path)
		if err != nil {
			return nil, err
		}
		info, err := os.Stat(absolute)
		if err != nil {
			return nil, fmt.Errorf("advisories: %w", err)
		}
		if !info.Mode().IsRegular() && !info.IsDir() {
			return nil, fmt.Errorf("advisories %s: neither a file nor a directory; write them to a file first", path)
		}
		m.Paths = append(m.Paths, absolute)
	}
	r, err := p.ask(ctx, "/", Request{Match: &m})
	if err == nil && r.Result == nil {
		err = fmt.Errorf("%s: no result in its answer", p.path)
	}
	if err != nil {
		return nil, err
	}
	return r.Result, nil
}

func (p Program) ask(ctx context.Context, dir string, request Request) (*Response, error) {
	request.Version = Version
	in, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithTimeout(ctx, maxTime)
	defer stop()
	cmd := exec.CommandContext(ctx, p.path)
	cmd.Dir, cmd.Env, cmd.Stdin = dir, []string{"GOMAXPROCS=2"}, bytes.NewReader(in)
	out, said := bounded.Buffer{Most: maxResponse}, bounded.Buffer{Most: maxStderr}
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %q", programName, errors.Join(err, ctx.Err()), strings.TrimSpace(said.String()))
	}
	if out.Over() {
		return nil, fmt.Errorf("%s: more than %d bytes of an answer", programName, maxResponse)
	}
	var r Response
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		return nil, fmt.Errorf("%s: its answer: %w", programName, err)
	}
	if r.Error != "" {
		return nil, errors.New(r.Error)
	}
	return &r, nil
}

// Serve answers one request. Confine is called with the paths that answering
// needs to read, before anything is read from them.
func Serve(in io.Reader, out io.Writer, confine func(paths []string) error, answer func(Request) (Response, error)) error {
	data, err := io.ReadAll(io.LimitReader(in, maxRequest+1))
	if err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	if len(data) > maxRequest {
		return fmt.Errorf("request: more than %d bytes", maxRequest)
	}
	var request Request
	if err := json.Unmarshal(data, &request); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	if request.Version != Version {
		return fmt.Errorf("request: version %d, this program understands %d: install cpc and cpc-scan together", request.Version, Version)
	}
	var paths []string
	switch {
	case request.Inventory != nil:
		paths = []string{"."}
	case request.Match != nil:
		paths = request.Match.Paths
	default:
		return errors.New("request: it asks nothing")
	}
	if err := confine(paths); err != nil {
		return fmt.Errorf("confine: %w", err)
	}
	response, err := answer(request)
	if err != nil {
		response = Response{Error: err.Error()}
	}
	return json.NewEncoder(out).Encode(response)
}
