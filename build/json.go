// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"encoding/json"
	"io"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/claude-pocket-console/cpc/build/dockerfile"
	"github.com/claude-pocket-console/cpc/internal/visible"
)

// JSONProgress writes one JSON object a line, in the form that docker's
// --progress=rawjson has: vertexes (steps), logs and warnings.
func JSONProgress(w io.Writer) Progress {
	return &jsonProgress{enc: json.NewEncoder(visible.JSONWriter(w)), now: time.Now, started: map[int]time.Time{}}
}

type jsonProgress struct {
	enc     *json.Encoder
	now     func() time.Time
	started map[int]time.Time
}

type solveStatus struct {
	Vertexes []jsonVertex  `json:"vertexes,omitempty"`
	Statuses []jsonStatus  `json:"statuses,omitempty"`
	Logs     []jsonLog     `json:"logs,omitempty"`
	Warnings []jsonWarning `json:"warnings,omitempty"`
}

type jsonVertex struct {
	Digest    digest.Digest `json:"digest"`
	Name      string        `json:"name"`
	Started   *time.Time    `json:"started,omitempty"`
	Completed *time.Time    `json:"completed,omitempty"`
	Cached    bool          `json:"cached,omitempty"`
	Error     string        `json:"error,omitempty"`
}

type jsonStatus struct {
	ID        string        `json:"id"`
	Vertex    digest.Digest `json:"vertex"`
	Total     int64         `json:"total,omitempty"`
	Current   int64         `json:"current"`
	Timestamp time.Time     `json:"timestamp"`
}

type jsonLog struct {
	Vertex    digest.Digest `json:"vertex"`
	Stream    int           `json:"stream"`
	Data      []byte        `json:"data"`
	Timestamp time.Time     `json:"timestamp"`
}

type jsonWarning struct {
	Level int    `json:"level"`
	Short []byte `json:"short"`
}

// vertex is the step's name for programs.
func vertex(s Vertex) digest.Digest {
	return digest.FromString(strconv.Itoa(s.ID) + " " + title(s))
}

func (j *jsonProgress) put(s solveStatus) {
	// Progress that cannot be written is no reason to stop a build.
	_ = j.enc.Encode(s)
}

// Start implements Progress.
func (j *jsonProgress) Start(s Vertex) {
	now := j.now().UTC()
	j.started[s.ID] = now
	j.put(solveStatus{Vertexes: []jsonVertex{{Digest: vertex(s), Name: title(s), Started: &now}}})
}

// Line implements Progress.
func (j *jsonProgress) Line(s Vertex, line string) {
	j.put(solveStatus{Logs: []jsonLog{{Vertex: vertex(s), Stream: 1, Data: []byte(line + "\n"), Timestamp: j.now().UTC()}}})
}

// State implements Progress. BuildKit's form has no waiting.
func (j *jsonProgress) State(s Vertex, now State) {
	if now.Waiting || now.Total == 0 {
		return
	}
	j.put(solveStatus{Statuses: []jsonStatus{{
		ID: now.Text, Vertex: vertex(s), Total: now.Total, Current: now.Done, Timestamp: j.now().UTC(),
	}}})
}

// Done implements Progress.
func (j *jsonProgress) Done(s Vertex, o Outcome) {
	now, start := j.now().UTC(), j.started[s.ID]
	delete(j.started, s.ID)
	v := jsonVertex{Digest: vertex(s), Name: title(s), Started: &start, Completed: &now, Cached: o.Cached}
	switch {
	case o.Err != nil && o.Canceled:
		v.Error = "context canceled"
	case o.Err != nil:
		v.Error = visible.Bounded(o.Err.Error(), dockerfile.MaxMessage)
	}
	j.put(solveStatus{Vertexes: []jsonVertex{v}})
}

// Warn implements Progress.
func (j *jsonProgress) Warn(message string) {
	j.put(solveStatus{Warnings: []jsonWarning{{Level: 1, Short: []byte(visible.Line(message))}}})
}

// Close implements Progress.
func (j *jsonProgress) Close(error) {}
