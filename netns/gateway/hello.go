// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/claude-pocket-console/cpc/netns/policy"
)

// TLS 1.3 is RFC 8446, TLS 1.2 RFC 5246, SNI RFC 6066, ECH RFC 9849.
const (
	recordCCS       = 20
	recordHandshake = 22
	recordData      = 23
	recordHeader    = 5
	maxRecord       = 1<<14 + 256 // the server's first may be of any version

	handshakeHeader = 4
	clientHello     = 1
	serverHello     = 2
	// maxHello bounds a message in all its records, which clients with many
	// key shares stay far below.
	maxHello   = 1 << 16
	maxRecords = 256

	extensionSNI = 0
)

// hides reports whether an extension has a name that only some servers read:
// the encrypted ClientHello, and what its drafts called and numbered otherwise.
func hides(extension uint16) bool {
	switch extension {
	case 0xfe0d, // encrypted_client_hello, since draft-ietf-tls-esni-13
		0xfd00,         // ech_outer_extensions, of an inner ClientHello
		0xffce,         // encrypted_server_name, draft-ietf-tls-esni-01 to -06
		0xff02, 0xff03, // draft -07
		0xda09, 0xda0a: // ech_is_inner, drafts -09 to -12
		return true
	}
	return extension >= 0xfe00 && extension <= 0xfe0f // drafts -08 to -12 took one each
}

var (
	errNotTLS    = refusal("not TLS")
	errMalformed = refusal("malformed ClientHello")
	errNoSNI     = refusal("no server name in the ClientHello")
	errECH       = refusal("encrypted ClientHello")
	errTooLong   = refusal("too long ClientHello")
)

// record is one TLS record as it was read, header included.
type record []byte

func (r record) kind() byte { return r[0] }

// readRecord reads one record and not a byte more. A record that is not
// complete, or not TLS, is returned as far as it was read.
func readRecord(r io.Reader) (record, error) {
	head := make([]byte, recordHeader)
	n, err := io.ReadFull(r, head)
	if err != nil {
		return head[:n], err
	}
	size := int(binary.BigEndian.Uint16(head[3:]))
	if head[0] < recordCCS || head[0] > recordData+1 || head[1] != 3 || size > maxRecord {
		return head, errNotTLS
	}
	rec := make([]byte, recordHeader+size)
	copy(rec, head)
	n, err = io.ReadFull(r, rec[recordHeader:])
	return rec[:recordHeader+n], err
}

// flight is the first message of a side, in however many records it came.
type flight struct {
	raw  []byte // all bytes that were read
	msg  []byte // the message, with its header
	rest int    // bytes of further messages in the last record
}

// readFlight reads records until their first handshake message is complete.
// What was read is returned along with an error too.
func readFlight(r io.Reader, first record) (f flight, err error) {
	var body []byte
	for range maxRecords {
		rec := first
		if first = nil; rec == nil {
			rec, err = readRecord(r)
			f.raw = append(f.raw, rec...)
			if err != nil {
				return f, err
			}
		} else {
			f.raw = append(f.raw, rec...)
		}
		if rec.kind() != recordHandshake || len(rec) == recordHeader {
			return f, errNotTLS
		}
		body = append(body, rec[recordHeader:]...)
		if len(body) < handshakeHeader {
			continue
		}
		size := handshakeHeader + int(body[1])<<16 + int(body[2])<<8 + int(body[3])
		if size > maxHello {
			return f, errTooLong
		}
		if len(body) >= size {
			f.msg, f.rest = body[:size], len(body)-size
			return f, nil
		}
	}
	return f, errTooLong
}

// readHello reads a ClientHello and returns all that was read of it, and the
// name in it as the client wrote it.
func readHello(r io.Reader, first record) (raw []byte, sni string, err error) {
	f, err := readFlight(r, first)
	if err != nil {
		return f.raw, "", err
	}
	if f.rest != 0 {
		return f.raw, "", errMalformed
	}
	sni, err = parseHello(f.msg)
	return f.raw, sni, err
}

// reader takes lengths and bytes off a message; bad is set when it ends early.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

// vector takes a length of size bytes and as many bytes as that says.
func (r *reader) vector(size int) []byte {
	n := 0
	for _, c := range r.take(size) {
		n = n<<8 | int(c)
	}
	return r.take(n)
}

// parseHello returns the only server name of a ClientHello. It is strict, as
// what two readers could see differently must not pass.
func parseHello(msg []byte) (sni string, err error) {
	if len(msg) < handshakeHeader || msg[0] != clientHello {
		return "", errNotTLS
	}
	r := reader{b: msg[handshakeHeader:]}
	version := r.take(2)
	r.take(32) // random
	session := r.vector(1)
	ciphers := r.vector(2)
	compression := r.vector(1)
	if r.bad || version[0] != 3 || len(session) > 32 || len(ciphers) < 2 || len(ciphers)%2 != 0 || len(compression) == 0 {
		return "", errMalformed
	}
	if len(r.b) == 0 {
		return "", errNoSNI
	}
	all := reader{b: r.vector(2)}
	if r.bad || len(r.b) != 0 {
		return "", errMalformed
	}
	var seen []uint16
	for len(all.b) > 0 {
		head := all.take(2)
		data := all.vector(2)
		if all.bad {
			return "", errMalformed
		}
		kind := binary.BigEndian.Uint16(head)
		if slices.Contains(seen, kind) {
			return "", errMalformed
		}
		seen = append(seen, kind)
		switch kind {
		case extensionSNI:
			if sni, err = parseSNI(data); err != nil {
				return "", err
			}
		default:
			if hides(kind) {
				return sni, errECH
			}
		}
	}
	if sni == "" {
		return "", errNoSNI
	}
	return sni, nil
}

func parseSNI(data []byte) (string, error) {
	r := reader{b: data}
	list := reader{b: r.vector(2)}
	kind := list.take(1)
	name := list.vector(2)
	if r.bad || list.bad || len(r.b) != 0 || len(list.b) != 0 || kind[0] != 0 || len(name) == 0 {
		return "", errMalformed
	}
	return string(name), nil
}

// isRetry reports whether a server's first message asks for another
// ClientHello, which need not name the same server.
func isRetry(msg []byte) bool {
	// RFC 8446, 4.1.3: the SHA-256 of "HelloRetryRequest".
	const random = "\xcf\x21\xad\x74\xe5\x9a\x61\x11\xbe\x1d\x8c\x02\x1e\x65\xb8\x91" +
		"\xc2\xa2\x11\x16\x7a\xbb\x8c\x5e\x07\x9e\x09\xe2\xc8\xa8\x33\x9c"
	return len(msg) >= handshakeHeader+34 && msg[0] == serverHello && string(msg[handshakeHeader+2:handshakeHeader+34]) == random
}

// sameName holds what a program said against the name it connected to, which may
// be what it said and one of the domains that its resolver searches.
func sameName(said string, h policy.Host, search []string) error {
	if strings.IndexFunc(said, func(r rune) bool { return r <= ' ' || r >= 0x7f }) >= 0 {
		return refusal("a byte in the name that none has: an international name is sent as xn--…")
	}
	got, err := policy.ParseHost(said)
	if err != nil {
		return refusal("not a host name: " + err.Error())
	}
	full := func(domain string) bool {
		completed, err := policy.ParseHost(got.Name + "." + domain)
		return err == nil && completed == h
	}
	if got != h && (got.IsAddr() || h.IsAddr() || !slices.ContainsFunc(search, full)) {
		return refusal(fmt.Sprintf("names %s instead of %s", clip(got.String()), h))
	}
	return nil
}

// isCut reports whether a peer went away in the middle.
func isCut(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// clip shortens what a program said for the record.
func clip(s string) string {
	const most = 128
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
