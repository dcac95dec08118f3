// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/claude-pocket-console/cpc/netns/policy"
)

// HTTP/1.1 messages are RFC 9112. Where it lets a recipient be lenient, a head
// is refused: what this parser and the server could read differently is what
// request smuggling is made of.
const (
	maxHead   = 64 << 10
	maxFields = 256
	maxChunk  = 4 << 10 // a chunk's size line
)

// head is a checked request head.
type head struct {
	method string
	// out is the head as it goes to the server.
	out []byte
	// host is the Host field.
	host string
	// length is that of the body in bytes, or chunked.
	length int64
	// upgrade: the client asks to speak WebSocket afterwards.
	upgrade bool
	minor   byte // of the version: '0' or '1'
	// authority is that of a target in absolute form.
	authority string
}

const chunked = -1

// readHead reads up to and including the empty line. Empty lines in front,
// which some clients send after a body, are left out.
func readHead(br *bufio.Reader) ([]byte, error) {
	var out []byte
	for {
		line, err := br.ReadSlice('\n')
		out = append(out, line...)
		if len(out) > maxHead {
			return out, refusal("too long request head")
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			return out, err
		}
		if len(out) == 2 && string(out) == "\r\n" {
			out = out[:0]
			continue
		}
		if bytes.HasSuffix(out, []byte("\r\n\r\n")) {
			return out, nil
		}
		if !bytes.HasSuffix(out, []byte("\r\n")) {
			return out, refusal("a line of the request head does not end in CRLF")
		}
	}
}

// parseHead checks a head and writes it anew.
func parseHead(raw []byte) (h head, err error) {
	text, ok := strings.CutSuffix(string(raw), "\r\n\r\n")
	if !ok {
		return h, refusal("incomplete request head")
	}
	lines := strings.Split(text, "\r\n")
	if len(lines) > maxFields+1 {
		return h, refusal("too many header fields")
	}
	if err := h.requestLine(lines[0]); err != nil {
		return h, err
	}
	h.out = append(h.out, lines[0]+"\r\n"...)
	count := map[string]int{}
	for _, line := range lines[1:] {
		name, value, err := field(line)
		if err != nil {
			return h, err
		}
		count[name]++
		keep, err := h.field(name, value)
		if err != nil {
			return h, err
		}
		if keep {
			h.out = append(h.out, line+"\r\n"...)
		}
	}
	h.out = append(h.out, "\r\n"...)
	return h, h.check(count)
}

func (h *head) requestLine(line string) error {
	parts := strings.Split(line, " ")
	if len(parts) != 3 || !token(parts[0]) || parts[1] == "" {
		return refusal("malformed request line")
	}
	h.method = parts[0]
	for i := range len(parts[1]) {
		if c := parts[1][i]; c <= ' ' || c >= 0x7f {
			return refusal("a byte in the request target that none has")
		}
	}
	switch parts[2] {
	case "HTTP/1.0", "HTTP/1.1":
		h.minor = parts[2][7]
	default:
		return refusal("not HTTP/1.0 or HTTP/1.1")
	}
	target := parts[1]
	switch {
	case strings.Contains(target, "#"):
		return refusal("a fragment in the request target, which no client sends")
	case h.method == "CONNECT":
		return refusal("CONNECT asks for another connection")
	case target[0] == '/', target == "*" && h.method == "OPTIONS":
		return nil
	}
	const scheme = "http://"
	if len(target) < len(scheme) || !strings.EqualFold(target[:len(scheme)], scheme) {
		return refusal("malformed request target")
	}
	h.authority = target[len(scheme):]
	if i := strings.IndexAny(h.authority, "/?#"); i >= 0 {
		h.authority = h.authority[:i]
	}
	if strings.Contains(h.authority, "@") {
		return refusal("user information in the request target")
	}
	if h.authority == "" {
		return refusal("malformed request target")
	}
	return nil
}

// field splits a header line. Names come back in lower case.
func field(line string) (name, value string, err error) {
	name, value, ok := strings.Cut(line, ":")
	if !ok || !token(name) {
		return "", "", refusal("malformed header field")
	}
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return "", "", refusal("a control byte in a header field")
		}
	}
	return strings.ToLower(name), strings.Trim(value, " \t"), nil
}

// field takes note of one header field, and says whether it goes on.
func (h *head) field(name, value string) (keep bool, err error) {
	switch name {
	case "host":
		if strings.Contains(value, "@") {
			return false, refusal("user information in Host")
		}
		h.host = value
	case "content-length":
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n < 0 || strings.Trim(value, "0123456789") != "" {
			return false, refusal("malformed Content-Length")
		}
		h.length = n
	case "transfer-encoding":
		if !strings.EqualFold(value, "chunked") {
			return false, refusal("a transfer encoding other than chunked")
		}
		h.length = chunked
	case "upgrade":
		// HTTP/2 on the same connection could name any host.
		h.upgrade = strings.EqualFold(value, "websocket")
		return h.upgrade, nil
	case "http2-settings":
		return false, nil
	case "connection":
		return true, checkConnection(value)
	}
	return true, nil
}

// checkConnection refuses options that would have a server drop a field on which
// host and length depend (RFC 9110, 7.6.1: a sender must not).
func checkConnection(value string) error {
	for option := range strings.SplitSeq(value, ",") {
		switch strings.ToLower(strings.Trim(option, " \t")) {
		case "host", "content-length", "transfer-encoding":
			return refusal("a Connection option that no sender has")
		}
	}
	return nil
}

func (h *head) check(count map[string]int) error {
	length, encoding := count["content-length"], count["transfer-encoding"]
	switch {
	case count["host"] == 0:
		return refusal("no Host")
	case count["host"] > 1:
		return refusal("more than one Host")
	case length > 1 || encoding > 1 || length > 0 && encoding > 0:
		return refusal("two lengths of the body")
	case encoding > 0 && h.minor == '0':
		return refusal("a transfer encoding in HTTP/1.0")
	case count["upgrade"] > 1 || h.upgrade && (h.length != 0 || h.method != "GET"):
		return refusal("malformed Upgrade")
	}
	return nil
}

// checkHost holds what the head names against the connection's host and port.
func (h *head) checkHost(host policy.Host, port uint16, search []string) error {
	for _, authority := range []string{h.host, h.authority} {
		if authority == "" && h.host != "" {
			continue
		}
		name, err := cutPort(authority, port)
		if err != nil {
			return err
		}
		if err := sameName(name, host, search); err != nil {
			return err
		}
	}
	return nil
}

// cutPort takes the port off an authority; one that is not the connection's
// is refused. User information makes it no host.
func cutPort(s string, port uint16) (string, error) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || strings.LastIndexByte(s, ']') > i {
		return s, nil
	}
	if s[i+1:] != "" && s[i+1:] != strconv.Itoa(int(port)) {
		return "", refusal("names port " + clip(s[i+1:]) + " instead of " + strconv.Itoa(int(port)))
	}
	return s[:i], nil
}

func token(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

// copyBody copies the body of a request, and checks its framing on the way.
func copyBody(dst io.Writer, br *bufio.Reader, length int64) error {
	if length != chunked {
		return copyExactly(dst, br, length)
	}
	for {
		line, err := readLine(br)
		if err != nil {
			return err
		}
		size, ok := chunkSize(line)
		if !ok {
			return refusal("malformed chunk")
		}
		// Extensions of a chunk are left out.
		if _, err := io.WriteString(dst, strconv.FormatInt(size, 16)+"\r\n"); err != nil {
			return err
		}
		if size == 0 {
			return copyTrailer(dst, br)
		}
		if err := copyExactly(dst, br, size); err != nil {
			return err
		}
		if line, err = readLine(br); err != nil {
			return err
		}
		if line != "" {
			return refusal("malformed chunk")
		}
		if _, err := io.WriteString(dst, "\r\n"); err != nil {
			return err
		}
	}
}

// copyExactly copies so many bytes as they come. (A bufio.Writer's ReadFrom,
// which io.CopyN would call, must not be flushed meanwhile, as input does.)
func copyExactly(dst io.Writer, br *bufio.Reader, size int64) error {
	for size > 0 {
		if _, err := br.Peek(1); errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		} else if err != nil {
			return err
		}
		part, err := br.Peek(int(min(int64(br.Buffered()), size)))
		if err != nil {
			return err
		}
		if _, err := dst.Write(part); err != nil {
			return err
		}
		if _, err := br.Discard(len(part)); err != nil {
			return err
		}
		size -= int64(len(part))
	}
	return nil
}

// copyTrailer ends a chunked body. Its fields, which nothing needs, are left
// out.
func copyTrailer(dst io.Writer, br *bufio.Reader) error {
	for range maxFields {
		line, err := readLine(br)
		if err != nil {
			return err
		}
		if line == "" {
			_, err := io.WriteString(dst, "\r\n")
			return err
		}
		if _, _, err := field(line); err != nil {
			return err
		}
	}
	return refusal("too many trailer fields")
}

func readLine(br *bufio.Reader) (string, error) {
	line, err := br.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) || len(line) > maxChunk {
		return "", refusal("malformed chunk")
	}
	if err != nil {
		return "", err
	}
	text, ok := strings.CutSuffix(string(line), "\r\n")
	if !ok || strings.ContainsAny(text, "\r") {
		return "", refusal("malformed chunk")
	}
	return text, nil
}

func chunkSize(line string) (int64, bool) {
	digits, _, _ := strings.Cut(line, ";")
	digits = strings.TrimRight(digits, " \t")
	if len(digits) == 0 || len(digits) > 15 || strings.Trim(digits, "0123456789abcdefABCDEF") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(digits, 16, 64)
	return n, err == nil
}
