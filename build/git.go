// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/dfgitutil"

	"github.com/claude-pocket-console/cpc/build/dockerfile"
	"github.com/claude-pocket-console/cpc/internal/bounded"
	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/internal/outbound"
	"github.com/claude-pocket-console/cpc/internal/visible"

	"github.com/claude-pocket-console/cpc/build/files"
)

// GitCheckout is a repository to check out.
type GitCheckout struct {
	Ref *dfgitutil.GitRef
	// Dir is an empty directory to do it in; the tree comes to Dir/tree.
	Dir string
	// KeepDir keeps .git.
	KeepDir bool
	// Header, if not "", is the Authorization header for the remote.
	Header string
	// Agent is the socket of an ssh agent, "" for the caller's.
	Agent string
	// Trail is where the repository, its redirects and submodules may be.
	Trail *outbound.Trail
	// Connect is a command, as a shell has it, that is given HOST and PORT and
	// connects its standard input and output by the proxy that ConnectEnv names
	// (outbound.Through). Without one there is http and https only.
	Connect string

	proxy *outbound.Proxy
}

// ConnectEnv is the variable by which GitCheckout.Connect learns of its proxy.
const ConnectEnv = "CPC_CONNECT_PROXY"

// gitHost is the host of a repository: that of a URL or of user@host:path.
func gitHost(ref *dfgitutil.GitRef) string {
	remote := ref.Remote
	if u, err := url.Parse(remote); err == nil && u.Host != "" {
		return u.Hostname()
	}
	if before, _, ok := strings.Cut(remote, ":"); ok && !strings.Contains(before, "/") {
		remote = before
	}
	host, _, _ := strings.Cut(remote[strings.LastIndexByte(remote, '@')+1:], "/")
	return host
}

// Clone checks out a repository's commit, shallow, with its submodules, and
// returns the commit. It runs git of this machine, which reads no
// configuration, runs no hook or filter, and connects where Trail leads.
func (c *GitCheckout) Clone(ctx context.Context) (commit string, err error) {
	if _, err := exec.LookPath("git"); err != nil {
		return "", hint.With(errors.New("git is not installed"), "install it: sudo apt-get install git")
	}
	if c.proxy, err = c.Trail.NewProxy(); err != nil {
		return "", err
	}
	defer func() {
		if refused := c.proxy.Refused(); refused != nil && err != nil && ctx.Err() == nil {
			err = refusedHint(refused)
		}
		err = errors.Join(err, c.proxy.Close())
	}()
	return c.clone(ctx)
}

func (c *GitCheckout) clone(ctx context.Context) (commit string, err error) {
	tree := filepath.Join(c.Dir, "tree")
	if err := os.Mkdir(tree, 0o755); err != nil {
		return "", err
	}
	want := c.Ref.Ref
	if want == "" {
		want = "HEAD"
	}
	if c.Ref.Checksum != "" && (want == "HEAD" || c.Ref.FetchByCommit) {
		want = c.Ref.Checksum
	}
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=main", "."},
		{"remote", "add", "origin", c.Ref.Remote},
		{"fetch", "--quiet", "--depth=1", "--no-tags", "--force", "origin", "--", want},
		{"checkout", "--quiet", "--force", "--detach", "FETCH_HEAD"},
	} {
		_, err := c.git(ctx, tree, args...)
		if err != nil && args[0] == "fetch" && strings.Contains(err.Error(), "shallow") {
			// A server of mere files gives all or nothing.
			_, err = c.git(ctx, tree, "fetch", "--quiet", "--no-tags", "--force", "origin", "--", want)
		}
		if err != nil && args[0] == "fetch" && len(want) < 40 && isHex(want) {
			return c.short(ctx, tree, want)
		}
		if err != nil {
			return "", err
		}
	}
	return c.finish(ctx, tree)
}

func isHex(s string) bool { return len(s) >= 7 && strings.Trim(s, "0123456789abcdef") == "" }

// short finds a commit by the start of its name, which no remote can look up.
func (c *GitCheckout) short(ctx context.Context, tree, start string) (string, error) {
	if _, err := c.git(ctx, tree, "fetch", "--quiet", "--tags", "--force", "origin", "+refs/heads/*:refs/remotes/origin/*"); err != nil {
		return "", err
	}
	if _, err := c.git(ctx, tree, "checkout", "--quiet", "--force", "--detach", start); err != nil {
		return "", err
	}
	return c.finish(ctx, tree)
}

func (c *GitCheckout) finish(ctx context.Context, tree string) (string, error) {
	commit, err := c.git(ctx, tree, "rev-parse", "HEAD")
	if err != nil {
		return "", err
	}
	if sum := c.Ref.Checksum; sum != "" && !strings.HasPrefix(commit, sum) {
		return "", fmt.Errorf("expected checksum to match %s, got %s", sum, commit)
	}
	if c.Ref.Submodules == nil || *c.Ref.Submodules {
		if _, err := os.Lstat(filepath.Join(tree, ".gitmodules")); err == nil {
			if _, err := c.git(ctx, tree, "submodule", "update", "--quiet", "--init", "--recursive", "--depth=1"); err != nil {
				return "", err
			}
		}
	}
	if c.KeepDir {
		return commit, nil
	}
	return commit, removeGitDirs(tree)
}

// removeGitDirs removes .git of the repository and of its submodules.
func removeGitDirs(tree string) error {
	root, err := os.OpenRoot(tree)
	if err != nil {
		return err
	}
	defer root.Close()
	var walk func(dir string) error
	walk = func(dir string) error {
		d, err := root.Open(dir)
		if err != nil {
			return err
		}
		entries, err := d.ReadDir(-1)
		if err := errors.Join(err, d.Close()); err != nil {
			return err
		}
		for _, e := range entries {
			p := path.Join(dir, e.Name())
			switch {
			case e.Name() == ".git":
				err = root.RemoveAll(p)
			case e.IsDir():
				err = walk(p)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	return walk(".")
}

// environment is git's: with its settings, and nothing of this machine's.
func (c *GitCheckout) environment() ([]string, error) {
	config := [][2]string{
		{"core.hooksPath", "/dev/null"},
		{"core.fsmonitor", "false"},
		{"core.symlinks", "true"},
		{"core.protectHFS", "true"},
		{"core.protectNTFS", "true"},
		{"protocol.allow", "never"},
		{"protocol.https.allow", "always"},
		{"protocol.http.allow", "always"},
		{"protocol.git.allow", c.byCommand()},
		{"protocol.ssh.allow", c.byCommand()},
		{"http.proxy", c.proxy.URL.String()},
		{"http.proxyAuthMethod", "basic"},
		{"protocol.file.allow", "never"},
		{"credential.helper", ""},
		{"safe.directory", "*"},
		{"advice.detachedHead", "false"},
		{"gc.auto", "0"},
		{"fetch.fsckObjects", "true"},
	}
	ssh := "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile=" + knownHosts(c.Dir)
	if c.Connect != "" {
		// git wants the name of a program, without arguments.
		connect := filepath.Join(c.Dir, "connect")
		if err := os.WriteFile(connect, []byte("#!/bin/sh\nexec "+c.Connect+" \"$@\"\n"), 0o700); err != nil {
			return nil, err
		}
		config = append(config, [2]string{"core.gitProxy", connect})
		ssh += " -o " + shellQuote("ProxyCommand="+strings.ReplaceAll(shellQuote(connect), "%", "%%")+" %h %p")
	}
	if c.Header != "" {
		config = append(config, [2]string{"http." + c.Ref.Remote + ".extraHeader", "Authorization: " + c.Header})
	}
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + c.Dir, "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=true", "GIT_LFS_SKIP_SMUDGE=1", "GIT_ATTR_NOSYSTEM=1",
		"GIT_SSH_COMMAND=" + ssh, ConnectEnv + "=" + c.proxy.URL.String(),
		"GIT_CONFIG_COUNT=" + strconv.Itoa(len(config)),
	}
	for i, kv := range config {
		n := strconv.Itoa(i)
		env = append(env, "GIT_CONFIG_KEY_"+n+"="+kv[0], "GIT_CONFIG_VALUE_"+n+"="+kv[1])
	}
	for _, name := range []string{"SSL_CERT_FILE", "GIT_SSL_CAINFO"} {
		if v := os.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	if c.Agent != "" {
		env = append(env, "SSH_AUTH_SOCK="+c.Agent)
	}
	return env, nil
}

// maxGitOutput is how much is kept of what git prints, in bytes: a server chooses its
// list of branches, and what it says on standard error.
const maxGitOutput = 4 << 20

// git runs one command in dir and returns its output without the last newline.
func (c *GitCheckout) git(ctx context.Context, dir string, args ...string) (string, error) {
	env, err := c.environment()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	cmd.Env = env
	stdout, stderr := bounded.Buffer{Most: maxGitOutput}, bounded.Buffer{Most: maxGitOutput}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		why := strings.TrimSpace(stderr.String())
		if why == "" {
			why = err.Error()
		}
		return "", fmt.Errorf("git %s: %s", args[0], visible.Bounded(why, 400))
	}
	if stdout.Over() {
		return "", fmt.Errorf("git %s: it prints more than %d bytes", args[0], maxGitOutput)
	}
	return strings.TrimSpace(stdout.String()), nil
}

// byCommand is whether git may use what it has no proxy of its own for.
func (c *GitCheckout) byCommand() string {
	if c.Connect == "" {
		return "never"
	}
	return "always"
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// knownHosts is the person's own file, or one that is forgotten.
func knownHosts(dir string) string {
	if home, err := os.UserHomeDir(); err == nil {
		if p := filepath.Join(home, ".ssh", "known_hosts"); !strings.ContainsAny(p, " \t\"'") {
			if _, err := os.Stat(p); err == nil {
				return p
			}
		}
	}
	return filepath.Join(dir, "known_hosts")
}

// gitTree opens the part of a checked-out repository that its address names,
// resolved inside of it, whatever symlinks the repository has (CVE-2026-33748).
func gitTree(dir string, ref *dfgitutil.GitRef) (*files.Tree, string, error) {
	t, err := files.Open(dir, "the repository "+visible.Bounded(ref.Remote, 200))
	if err != nil {
		return nil, "", err
	}
	sub, err := t.Resolve(files.Dot(ref.SubDir))
	if err != nil {
		return nil, "", errors.Join(err, t.Close())
	}
	info, err := t.Root.Lstat(sub)
	if err == nil && !info.IsDir() {
		err = errors.New("not a directory")
	}
	if err != nil {
		return nil, "", errors.Join(fmt.Errorf("subdirectory %s of %s: %w", visible.Line(ref.SubDir), t.Name, files.ErrNoSource), t.Close())
	}
	return t, sub, nil
}

// repository checks a repository out and returns it as a source.
func (x *step) repository(ctx context.Context, ref *dfgitutil.GitRef, c *dockerfile.Copy) (source, error) {
	keep := c.KeepGitDir != nil && *c.KeepGitDir
	if ref.KeepGitDir != nil {
		if c.KeepGitDir != nil && keep != *ref.KeepGitDir {
			return source{}, errors.New("inconsistent keep-git-dir configuration")
		}
		keep = *ref.KeepGitDir
	}
	if c.Checksum != "" {
		if ref.Checksum != "" && ref.Checksum != c.Checksum {
			return source{}, fmt.Errorf("checksum mismatch %q != %q", c.Checksum, ref.Checksum)
		}
		if !dockerfile.IsRefName(c.Checksum) {
			return source{}, fmt.Errorf("--checksum=%s: no commit", visible.Bounded(c.Checksum, 100))
		}
		ref.Checksum = c.Checksum
	}
	dir, err := x.scratch()
	if err != nil {
		return source{}, err
	}
	b := x.stage.b
	g := &GitCheckout{Ref: ref, Dir: dir, KeepDir: keep, Trail: b.trail(gitHost(ref)), Connect: b.Connect}
	if a, ok := b.Agents["default"]; ok {
		g.Agent = a.Socket
	}
	if g.Header, err = x.gitHeader(ref); err != nil {
		return source{}, err
	}
	commit, err := g.Clone(ctx)
	if err != nil {
		return source{}, fmt.Errorf("repository %s: %w", visible.Bounded(ref.Remote, 200), err)
	}
	t, sub, err := gitTree(filepath.Join(dir, "tree"), ref)
	if err != nil {
		return source{}, err
	}
	x.undo = append(x.undo, t.Close)
	entries, err := t.Entries(sub)
	if err != nil {
		return source{}, err
	}
	id := strings.Join([]string{"git", commit, path.Clean("/" + ref.SubDir), strconv.FormatBool(keep)}, " ")
	return source{tree: t, entries: gitModes(entries), id: id}, nil
}

// gitModes gives files the modes that git knows: 644 and 755.
func gitModes(entries []files.Entry) []files.Entry {
	for i := range entries {
		switch e := &entries[i]; {
		case e.IsDir(), e.IsRegular() && e.Mode&0o111 != 0:
			e.SetBits(0o755)
		case e.IsRegular():
			e.SetBits(0o644)
		}
	}
	return entries
}

// gitHeader is the Authorization header that is given as a secret.
func (x *step) gitHeader(ref *dfgitutil.GitRef) (string, error) {
	u, err := url.Parse(ref.Remote)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" {
		return "", nil //nolint:nilerr // an address of ssh's form
	}
	for _, name := range []string{"GIT_AUTH_HEADER." + u.Host, "GIT_AUTH_HEADER", "GIT_AUTH_TOKEN." + u.Host, "GIT_AUTH_TOKEN"} {
		get, ok := x.stage.b.Secrets[name]
		if !ok {
			continue
		}
		value, err := get()
		if err != nil {
			return "", fmt.Errorf("secret %s: %w", name, err)
		}
		text := strings.TrimSpace(string(value))
		if strings.HasPrefix(name, "GIT_AUTH_TOKEN") {
			text = "basic " + base64.StdEncoding.EncodeToString([]byte("x-access-token:"+text))
		}
		return text, nil
	}
	return "", nil
}
