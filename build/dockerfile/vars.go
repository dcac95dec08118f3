// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/shell"

	"github.com/claude-pocket-console/cpc/internal/visible"
)

// Bounds on variable expansion. A value may grow by naming itself twice, and a
// replacement (${a//b/c}) multiplies: both are cut off before they cost memory.
const (
	maxWord     = 64 << 10
	maxContent  = 4 << 20
	maxEnvBytes = 1 << 20
	// maxReplaced bounds the product of what replacements can multiply.
	maxReplaced = 16 << 20
)

var errExpansion = errors.New("variable expansion is too large")

// proxyArgs may be passed as build arguments without an ARG. They reach RUN
// steps only, and neither the history nor the cache key.
var proxyArgs = []string{
	"ALL_PROXY", "all_proxy", "FTP_PROXY", "ftp_proxy", "HTTPS_PROXY", "https_proxy",
	"HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy",
}

// scanArgs ask BuildKit for a bill of materials of more than the result; they
// are no environment.
var scanArgs = []string{"BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"}

// EpochArg is the build argument that pins the image's times.
const EpochArg = "SOURCE_DATE_EPOCH"

// InlineCacheArg is the build argument by which an image is asked to carry its
// cache.
const InlineCacheArg = "BUILDKIT_INLINE_CACHE"

// replacement finds the operators that can multiply a value's size.
var replacement = regexp.MustCompile(`\$\{[A-Za-z0-9_]+/`)

// environ gives the lexer values and keeps count of the bytes it took.
type environ struct {
	values map[string]string
	budget int
	over   bool
}

// Get implements shell.EnvGetter.
func (e *environ) Get(name string) (string, bool) {
	v, ok := e.values[name]
	if e.budget -= len(v); e.budget < 0 {
		e.over = true
		return "", ok
	}
	return v, ok
}

// Keys implements shell.EnvGetter.
func (e *environ) Keys() []string { return slices.Sorted(maps.Keys(e.values)) }

// expander expands the words of one instruction.
type expander struct {
	lex    *shell.Lex
	values map[string]string
	limit  int
	// unset are the variables that had no value.
	unset map[string]struct{}
}

func newExpander(escape rune, values map[string]string) *expander {
	return &expander{lex: shell.NewLex(escape), values: values, limit: maxWord, unset: map[string]struct{}{}}
}

// contentExpander expands the text of a COPY heredoc, whose quotes stay.
func contentExpander(values map[string]string) *expander {
	lex := shell.NewLex('\\')
	lex.SkipProcessQuotes = true
	return &expander{lex: lex, values: values, limit: maxContent, unset: map[string]struct{}{}}
}

// expansion expands the words of one instruction.
type expansion struct {
	// text is for its words, content for a heredoc that is a file.
	text, content *expander
}

func newExpansion(escape rune, values map[string]string) *expansion {
	return &expansion{text: newExpander(escape, values), content: contentExpander(values)}
}

// all expands what BuildKit expands of c.
func (x *expansion) all(c instructions.SupportsSingleWordExpansion) error {
	if err := c.Expand(x.text.word); err != nil {
		return err
	}
	if raw, ok := c.(instructions.SupportsSingleWordExpansionRaw); ok {
		return raw.ExpandRaw(x.content.word)
	}
	return nil
}

// budget is how many bytes of values one word may draw in. n replacements can
// multiply n+1 factors, so all of them together have to stay small then.
func (x *expander) budget(word string) (int, error) {
	n := len(replacement.FindAllStringIndex(word, -1))
	if n == 0 {
		return x.limit, nil
	}
	factor := maxReplaced
	for factor > 1 && !fits(factor, n+1, maxReplaced) {
		factor /= 2
	}
	if len(word) > max(factor, 256) {
		return 0, errExpansion
	}
	return factor, nil
}

// fits reports whether base to the power of n is at most most.
func fits(base, n, most int) bool {
	product := 1
	for range n {
		if product > most/base {
			return false
		}
		product *= base
	}
	return true
}

// word expands to one string, words to several split at blanks.
func (x *expander) word(word string) (string, error) {
	env, err := x.start(word)
	if err != nil {
		return "", err
	}
	out, unset, err := x.lex.ProcessWord(word, env)
	maps.Copy(x.unset, unset)
	return out, x.check(env, len(out), err)
}

// undefined are the names that had no value, without the declared ones.
func (x *expander) undefined(declared []string) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(x.unset)), func(name string) bool { return slices.Contains(declared, name) })
}

func (x *expander) words(word string) ([]string, error) {
	env, err := x.start(word)
	if err != nil {
		return nil, err
	}
	out, err := x.lex.ProcessWords(word, env)
	return out, x.check(env, len(strings.Join(out, " ")), err)
}

func (x *expander) start(word string) (*environ, error) {
	n, err := x.budget(word)
	if err != nil {
		return nil, err
	}
	return &environ{values: x.values, budget: n}, nil
}

func (x *expander) check(env *environ, size int, err error) error {
	if env.over || size > x.limit {
		return errExpansion
	}
	if err == nil {
		return nil
	}
	msg := err.Error()
	switch {
	case strings.Contains(msg, "missing '}'"), strings.Contains(msg, "unsupported modifier (\uffff)"),
		strings.Contains(msg, "unsupported modifier (\ufffd)"):
		msg = "a variable's closing } is missing"
	default:
		// The lexer puts the whole word in front; the excerpt shows it.
		if _, cause, ok := strings.Cut(msg, `": `); ok && strings.HasPrefix(msg, "failed to process") {
			msg = cause
		}
	}
	return errors.New(visible.Line(msg))
}

// arg is one build argument in scope, in the order of its ARG. A later ENV of
// its name hides it.
type arg struct {
	name, value string
	hidden      bool
}

// scope is what variables mean at one place of a stage: what was said last, as
// ENV or as ARG, counts.
type scope struct {
	env  []string
	args []arg
}

// values is the scope as the lexer reads it.
func (s *scope) values() map[string]string {
	m := make(map[string]string, len(s.env)+len(s.args))
	for _, kv := range s.env {
		name, value, _ := strings.Cut(kv, "=")
		m[name] = value
	}
	for _, a := range s.args {
		if !a.hidden {
			m[a.name] = a.value
		}
	}
	return m
}

// setArg makes an argument known; the last ARG of a name wins.
func (s *scope) setArg(name, value string) {
	s.args = slices.DeleteFunc(s.args, func(a arg) bool { return a.name == name })
	s.args = append(s.args, arg{name: name, value: value})
}

// setEnv sets a variable in place, so that the order of first use is kept.
func (s *scope) setEnv(name, value string) error {
	size := len(name) + len(value)
	for _, kv := range s.env {
		size += len(kv)
	}
	if size > maxEnvBytes {
		return fmt.Errorf("environment is larger than %d bytes", maxEnvBytes)
	}
	for i := range s.args {
		s.args[i].hidden = s.args[i].hidden || s.args[i].name == name
	}
	for i, kv := range s.env {
		if k, _, _ := strings.Cut(kv, "="); k == name {
			s.env[i] = name + "=" + value
			return nil
		}
	}
	s.env = append(s.env, name+"="+value)
	return nil
}

// inherit is the scope that a stage on top of this one begins with; env is what
// the image has set.
func (s *scope) inherit(env []string) scope {
	return scope{env: slices.Clone(env), args: slices.Clone(s.args)}
}

// runEnv is the environment of a RUN step: ENV with what an ARG said later in
// its place, then the other ARGs.
func (s *scope) runEnv() []string {
	values := s.values()
	out := make([]string, 0, len(values))
	for _, kv := range s.env {
		name, _, _ := strings.Cut(kv, "=")
		out = append(out, name+"="+values[name])
		delete(values, name)
	}
	for _, a := range s.args {
		if _, left := values[a.name]; left && !slices.Contains(scanArgs, a.name) {
			out = append(out, a.name+"="+a.value)
		}
	}
	return out
}
