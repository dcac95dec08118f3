// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package wire is what cpc and a sandbox's monitor say to each other over the
// monitor's control socket: frames of a type byte, a 32-bit big-endian length
// and that many bytes.
//
// A client opens a connection with one Request. Attach, Run, Exec, Export and Files requests
// then turn the connection into a stream of terminal or pipe data; all others
// get one Reply. Both ends run as the same user; the socket lies in a
// directory that only this user can enter.
package wire

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/sandbox/files"
	"github.com/claude-pocket-console/cpc/sandbox/network"
)

// Type says what a frame carries.
type Type byte

// Frame types. The letter is what a trace shows.
const (
	Request  Type = 'Q' // JSON RequestBody, client to monitor, first
	Reply    Type = 'A' // JSON ReplyBody, monitor to client
	Busy     Type = 'b' // JSON BusyBody, before Started: what takes time
	Started  Type = 'S' // JSON StartedBody: the program runs
	Stdin    Type = 'i' // bytes for the program
	StdinEOF Type = 'e' // nothing more for the program
	Taken    Type = 't' // monitor to client: the program has taken one Stdin or StdinEOF
	Stdout   Type = 'o' // bytes of the program, or of its terminal
	Stderr   Type = 'r' // bytes of the program's standard error
	Resize   Type = 'w' // JSON ResizeBody
	Signal   Type = 'k' // JSON number
	Detach   Type = 'd' // the client leaves on purpose; the program stays
	Exit     Type = 'x' // JSON ExitBody: the program has ended
	Failure  Type = '!' // JSON FailureBody: it could not be done
)

// MaxPayload bounds a frame. Data is sent in chunks of at most ChunkSize.
const (
	MaxPayload = 1 << 20
	ChunkSize  = 32 << 10
)

// StdinFrames is how many Stdin and StdinEOF frames a client may have sent
// that the monitor has not yet said Taken to. So the monitor never stops
// reading: it hears of signals, and of the client's end, also while the program
// reads no input.
const StdinFrames = 16

// Size is a terminal's size in character cells.
type Size struct {
	Rows uint16 `json:"rows"`
	Cols uint16 `json:"cols"`
}

// ResizeBody sets the size of a program's terminal.
type ResizeBody struct {
	Size
	Redraw bool `json:"redraw,omitempty"` // the program is to draw anew, also if it has that size
}

// RequestBody opens a connection.
type RequestBody struct {
	Op      string       `json:"op"`           // one of the Op constants
	By      string       `json:"by,omitempty"` // who asks, for the journal: journal.Who
	Size    *Size        `json:"size,omitempty"`
	Stdin   bool         `json:"stdin,omitempty"` // the client will send Stdin frames
	Signal  int          `json:"signal,omitempty"`
	Timeout int          `json:"timeout,omitempty"` // seconds, for OpStop; negative: wait for ever
	Exec    *ExecRequest `json:"exec,omitempty"`
	// Limits are all that the sandbox is to have, for OpUpdate.
	Limits *cgroups.Limits `json:"limits,omitempty"`
	Net    *NetRequest     `json:"net,omitempty"`
	Files  *files.Order    `json:"files,omitempty"`
}

// What a request asks for.
const (
	OpAttach  = "attach"
	OpExec    = "exec"
	OpSignal  = "signal"
	OpStop    = "stop"
	OpWait    = "wait"
	OpExport  = "export"
	OpUpdate  = "update"
	OpPause   = "pause"
	OpUnpause = "unpause"
	OpNet     = "net"
	OpFiles   = "files"
)

// NetRequest is about the sandbox's network, whose policy is an allowlist.
type NetRequest struct {
	Do    string   `json:"do"`              // one of the Net constants
	Rules []string `json:"rules,omitempty"` // to change
	Host  string   `json:"host,omitempty"`  // to test, with Port
	Port  uint16   `json:"port,omitempty"`
}

// What a NetRequest asks for.
const (
	NetShow   = "show"
	NetTest   = "test"
	NetAllow  = "allow"
	NetDeny   = "deny"
	NetRemove = "remove"
)

// ExecRequest describes a further program in a running sandbox.
type ExecRequest struct {
	Args    []string `json:"args"`
	Env     []string `json:"env,omitempty"`
	User    string   `json:"user,omitempty"`
	Workdir string   `json:"workdir,omitempty"`
	TTY     bool     `json:"tty,omitempty"`
	// The caller's terminal, as TERM and COLORTERM name it there.
	Term      string `json:"term,omitempty"`
	ColorTerm string `json:"colorTerm,omitempty"`
	Detach    bool   `json:"detach,omitempty"`
}

// ReplyBody answers a plain request.
type ReplyBody struct {
	State json.RawMessage `json:"state,omitempty"`
}

// BusyBody says what a start waits for, and how far that is, in bytes.
type BusyBody struct {
	What  string `json:"what"`
	Done  int64  `json:"done,omitempty"`
	Total int64  `json:"total,omitempty"`
}

// StartedBody says that the program runs.
type StartedBody struct {
	PID int  `json:"pid"` // as the host counts
	TTY bool `json:"tty"`
	// Notes are weaker guarantees of this start that a person should know of.
	Notes []string `json:"notes,omitempty"`
}

// ExitBody says how the program ended.
type ExitBody struct {
	Code   int    `json:"code"`
	Reason string `json:"reason,omitempty"` // why, when it was not the program's own doing
	// Refusals are what the network did not let reach.
	Refusals []network.Refusal `json:"refusals,omitempty"`
}

// FailureBody says what could not be done. Code is the exit status for the
// client: 125, or 126 and 127 as a shell has them.
type FailureBody struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// Error makes a FailureBody an error.
func (f *FailureBody) Error() string { return f.Message }

// Lines implements visible.Lines: the monitor has made them by visible.Error.
func (f *FailureBody) Lines() []string { return strings.Split(f.Message, "\n") }

// Conn is one connection. Writes may come from several goroutines, reads from
// one at a time.
type Conn struct {
	net.Conn
	r *bufio.Reader

	mu  sync.Mutex // guards buf and the order of frames
	buf []byte
}

// New wraps a stream connection.
func New(c net.Conn) *Conn {
	return &Conn{Conn: c, r: bufio.NewReaderSize(c, ChunkSize+headLen)}
}

// WriteFrame sends one frame.
func (c *Conn) WriteFrame(t Type, payload []byte) error {
	if len(payload) > MaxPayload {
		return fmt.Errorf("frame %q: %d bytes is over the limit of %d", byte(t), len(payload), MaxPayload)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buf = AppendFrame(c.buf[:0], t, payload)
	_, err := c.Write(c.buf)
	return err
}

// headLen is the length of a frame's type and length.
const headLen = 5

// AppendFrame appends a frame to buf, encoded. The payload is of at most
// MaxPayload bytes.
func AppendFrame(buf []byte, t Type, payload []byte) []byte {
	buf = append(buf, byte(t))
	buf = binary.BigEndian.AppendUint32(buf, uint32(len(payload))) //nolint:gosec // bounded by MaxPayload
	return append(buf, payload...)
}

// FrameLen is the length of the first of the encoded frames in buf.
func FrameLen(buf []byte) int {
	return headLen + int(binary.BigEndian.Uint32(buf[1:headLen]))
}

// WriteEncoded sends whole frames that AppendFrame made.
func (c *Conn) WriteEncoded(frames []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.Write(frames)
	return err
}

// WriteJSON sends one frame with body as JSON.
func (c *Conn) WriteJSON(t Type, body any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("frame %q: %w", byte(t), err)
	}
	return c.WriteFrame(t, raw)
}

// ReadFrame returns the next frame. The payload is the caller's. At the end of
// the connection between frames the error is io.EOF.
func (c *Conn) ReadFrame() (Type, []byte, error) {
	var head [headLen]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size > MaxPayload {
		return 0, nil, fmt.Errorf("frame %q: %d bytes is over the limit of %d", head[0], size, MaxPayload)
	}
	payload := make([]byte, size)
	if _, err := io.ReadFull(c.r, payload); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	return Type(head[0]), payload, nil
}

// Decode reads a JSON payload into body.
func Decode(t Type, payload []byte, body any) error {
	if err := json.Unmarshal(payload, body); err != nil {
		return fmt.Errorf("frame %q: %w", byte(t), err)
	}
	return nil
}
