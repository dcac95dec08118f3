// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// RateLimitError is a registry's answer to too many requests.
type RateLimitError struct {
	Host string
	// Limit and Remaining are what the registry says of its limit, if it does.
	Limit, Remaining string
	// Wait is how long it asks to wait; zero if it does not say.
	Wait time.Duration
}

func (e *RateLimitError) Error() string {
	var b strings.Builder
	b.WriteString("rate limit of " + e.Host + " reached")
	if e.Limit != "" {
		b.WriteString(" (its limit is " + limitText(e.Limit))
		if e.Remaining != "" {
			b.WriteString(", left are " + limitText(e.Remaining))
		}
		b.WriteString(")")
	}
	if e.Wait > 0 {
		b.WriteString(": try again in " + e.Wait.Round(time.Second).String())
	}
	return b.String()
}

// limitText says in words what "100;w=21600" means.
func limitText(s string) string {
	count, rest, _ := strings.Cut(s, ";")
	if _, err := strconv.ParseUint(count, 10, 32); err != nil {
		return "unknown"
	}
	window, ok := strings.CutPrefix(strings.TrimSpace(rest), "w=")
	seconds, err := strconv.ParseUint(window, 10, 31)
	if !ok || err != nil {
		return count
	}
	return count + " in " + (time.Duration(seconds) * time.Second).String()
}

const (
	// tries is how often a request is made at most.
	tries = 5
	// patience is the longest wait that a registry can ask for.
	patience = time.Minute
)

// waiter tries again what may succeed later, each time after a longer pause,
// or after the one that the registry asks for.
type waiter struct {
	next  http.RoundTripper
	pause time.Duration
	tell  func(string)
}

// RoundTrip implements http.RoundTripper.
func (w *waiter) RoundTrip(r *http.Request) (*http.Response, error) {
	r, err := fresh(r)
	if err != nil {
		return nil, err
	}
	pause := w.pause
	for n := 1; ; n++ {
		resp, err := w.next.RoundTrip(r)
		limited := rateLimit(r, resp)
		wait, why := pause+rand.N(pause/2+1), ""
		switch {
		case limited != nil:
			wait = max(wait, limited.Wait)
			why = (&RateLimitError{Host: limited.Host, Limit: limited.Limit, Remaining: limited.Remaining}).Error()
		case err != nil:
			why = err.Error()
		default:
			why = r.URL.Host + " answers " + strconv.Itoa(resp.StatusCode)
		}
		if n == tries || n > 1 && isStall(err) || wait > patience || !w.again(r, resp, err) || !rewind(r) {
			if limited != nil {
				_ = resp.Body.Close()
				return nil, limited
			}
			return resp, err
		}
		if resp != nil {
			_, _ = io.CopyN(io.Discard, resp.Body, 64<<10) // so that the connection can be used again
			_ = resp.Body.Close()
		}
		if w.tell != nil {
			w.tell(fmt.Sprintf("%s; trying again in %v", why, wait.Round(100*time.Millisecond)))
		}
		if err := sleep(r.Context(), wait); err != nil {
			return nil, err
		}
		pause *= 2
	}
}

// fresh gives a request a body from its beginning: the one that logs in sends a
// request again, with the same body, when its token has run out meanwhile.
func fresh(r *http.Request) (*http.Request, error) {
	if r.Body == nil || r.Body == http.NoBody || r.GetBody == nil {
		return r, nil
	}
	body, err := r.GetBody()
	_ = r.Body.Close() // it may be closed already
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Body = body
	return r, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// again reports whether a request may succeed if it is made once more, and
// does no harm if it had succeeded.
func (w *waiter) again(r *http.Request, resp *http.Response, err error) bool {
	if r.Context().Err() != nil {
		return false
	}
	safe := r.Method == http.MethodGet || r.Method == http.MethodHead
	if err != nil {
		var timeout net.Error
		return safe && (errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) ||
			errors.Is(err, unix.EPIPE) || errors.As(err, &timeout) && timeout.Timeout())
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return true
	case http.StatusRequestTimeout, http.StatusBadGateway, http.StatusGatewayTimeout, http.StatusInternalServerError:
		return safe
	}
	return false
}

// rewind makes a request ready to be sent once more.
func rewind(r *http.Request) bool {
	if r.Body == nil || r.Body == http.NoBody {
		return true
	}
	if r.GetBody == nil {
		return false
	}
	body, err := r.GetBody()
	if err != nil {
		return false
	}
	r.Body = body
	return true
}

// rateLimit reads what a registry says of its limit, if this is that answer.
func rateLimit(r *http.Request, resp *http.Response) *RateLimitError {
	if resp == nil || resp.StatusCode != http.StatusTooManyRequests {
		return nil
	}
	return &RateLimitError{
		Host:      r.URL.Host,
		Limit:     cmp.Or(resp.Header.Get("Ratelimit-Limit"), resp.Header.Get("X-Ratelimit-Limit")),
		Remaining: cmp.Or(resp.Header.Get("Ratelimit-Remaining"), resp.Header.Get("X-Ratelimit-Remaining")),
		Wait:      retryAfter(resp.Header.Get("Retry-After"), time.Now()),
	}
}

// retryAfter understands seconds and dates.
func retryAfter(value string, now time.Time) time.Duration {
	const longest = 30 * 24 * time.Hour
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, longest)
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(0, at.Sub(now)), longest)
	}
	return 0
}

// PlainError is a refusal to speak without TLS.
type PlainError struct{ Host string }

func (e *PlainError) Error() string {
	return "plain HTTP to " + e.Host + " is refused: it is not this machine, and not called insecure in config.toml"
}

// guard lets plain HTTP through only where that was allowed.
type guard struct {
	next    http.RoundTripper
	allowed map[string]bool
}

// RoundTrip implements http.RoundTripper.
func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && !g.allowed[r.URL.Hostname()] && !loopback(r.URL.Hostname()) {
		return nil, &PlainError{r.URL.Host}
	}
	if r.Header.Get("User-Agent") == "" || strings.HasPrefix(r.Header.Get("User-Agent"), "go-containerregistry") {
		r = r.Clone(r.Context())
		r.Header.Set("User-Agent", "cpc")
	}
	return g.next.RoundTrip(r)
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
