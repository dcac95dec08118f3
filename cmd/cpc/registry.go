// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/rootfs"
	"github.com/claude-pocket-console/cpc/rootfs/registry"
)

// registryClient reaches registries as the configuration says.
func (a *app) registryClient(tell func(string)) (*registry.Client, error) {
	conf, err := a.configuration()
	if err != nil {
		return nil, err
	}
	hosts, err := registry.Hosts(conf)
	if err != nil {
		return nil, err
	}
	var keys authn.Keychain
	if a.inside != nil {
		keys = a.inside.keys
	} else {
		keys = a.keychain(tell)
	}
	return registry.New(registry.Options{Hosts: hosts, Certificates: a.certificates(), Tell: tell, Keychain: keys}), nil
}

type pushFlags struct {
	quiet, noReferrers, all bool
	platform                string
}

func (a registryCommands) pushCommand() *cobra.Command {
	f := &pushFlags{}
	cmd := &cobra.Command{
		Use: "push [OPTIONS] IMAGE", Short: "Push an image to a registry", Args: wants(1, 1),
		Long: `Push an image to the registry in its name, together with its bill of materials and
other referrers. All platforms of a multi-platform image are pushed.`,
		Example: "  cpc tag sandbox registry.example.com/team/sandbox:v1.0.0\n  cpc push registry.example.com/team/sandbox:v1.0.0",
		RunE:    func(cmd *cobra.Command, args []string) error { return a.push(cmd, args[0], f) },
	}
	cmd.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "Print only the digest")
	cmd.Flags().BoolVarP(&f.all, "all-tags", "a", false, "Push all tags of the repository")
	cmd.Flags().BoolVar(&f.noReferrers, "no-referrers", false, "Do not push the bill of materials and other referrers")
	cmd.Flags().StringVar(&f.platform, "platform", "", "Push only the image for `OS/ARCH` of a multi-platform image")
	return cmd
}

func (a registryCommands) push(cmd *cobra.Command, ref string, f *pushFlags) error {
	p := newProgress(os.Stderr, f.quiet)
	client, err := a.registryClient(p.say)
	if err != nil {
		return err
	}
	want, err := optionalPlatform(f.platform)
	if err != nil {
		return err
	}
	o := rootfs.PushOptions{Client: client, Progress: p.event, NoReferrers: f.noReferrers, Platform: want}
	return a.withStore(func(store *rootfs.Store) error {
		refs := []string{ref}
		if f.all {
			if refs, err = store.Tags(cmd.Context(), ref); err != nil {
				return err
			}
		}
		p.say("The push refers to repository [" + repositoryOf(ref) + "]")
		for _, ref := range refs {
			done, err := store.Push(cmd.Context(), ref, o)
			p.end()
			if err != nil {
				return err
			}
			for _, d := range done.Referrers {
				p.say(shortDigest(d.String()) + ": referrer pushed")
			}
			if err := tellPushed(cmd.OutOrStdout(), ref, done, f.quiet); err != nil {
				return err
			}
		}
		return nil
	})
}

func tellPushed(w io.Writer, ref string, done rootfs.Pushed, quiet bool) error {
	if quiet {
		_, err := fmt.Fprintln(w, done.Digest)
		return err
	}
	_, tag := rootfs.SplitTag(rootfs.Familiar(canonicalOr(ref)))
	_, err := fmt.Fprintf(w, "%s: digest: %s size: %d\n", tag, done.Digest, done.Size)
	return err
}

func canonicalOr(ref string) string {
	if c, err := rootfs.ParseReference(ref); err == nil {
		return c
	}
	return ref
}

func repositoryOf(ref string) string {
	repository, _ := rootfs.SplitTag(canonicalOr(ref))
	return repository
}

type loginFlags struct {
	user, password string
	stdin          bool
}

func (a registryCommands) loginCommand() *cobra.Command {
	f := &loginFlags{}
	cmd := &cobra.Command{
		Use: "login [OPTIONS] [SERVER]", Short: "Log in to a registry", Args: wants(0, 1),
		Long: `Log in to a registry. The default is docker.io. The credentials are stored where
docker stores them: by the credential helper in ~/.docker/config.json or, without
one, in that file. docker and cpc can therefore use each other's logins.`,
		Example: "  aws ecr get-login-password | cpc login -u AWS --password-stdin 123456789012.dkr.ecr.eu-central-1.amazonaws.com",
		RunE: func(cmd *cobra.Command, args []string) error {
			server := ""
			if len(args) > 0 {
				server = args[0]
			}
			return a.login(cmd, server, f)
		},
	}
	cmd.Flags().StringVarP(&f.user, "username", "u", "", "User `NAME`")
	cmd.Flags().StringVarP(&f.password, "password", "p", "", "`PASSWORD`; other users can see it, so prefer --password-stdin")
	cmd.Flags().BoolVar(&f.stdin, "password-stdin", false, "Read the password from standard input")
	return cmd
}

func (a registryCommands) login(cmd *cobra.Command, server string, f *loginFlags) error {
	host, err := registry.ServerName(server)
	if err != nil {
		return usageError{err}
	}
	cred, err := f.credentials(cmd.Context(), host)
	if err != nil {
		return err
	}
	client, err := a.registryClient(tellStderr)
	if err != nil {
		return err
	}
	if err := client.Verify(cmd.Context(), host, cred); err != nil {
		return fmt.Errorf("log in to %s: %w", host, rootfs.ExplainRemote(err))
	}
	if err := registry.Store(host, cred); err != nil {
		return err
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), "Login Succeeded")
	return err
}

// credentials asks for what was not given.
func (f *loginFlags) credentials(ctx context.Context, host string) (registry.Credentials, error) {
	c := registry.Credentials{Username: f.user, Password: f.password}
	if f.password != "" {
		if f.stdin {
			return c, usageError{errors.New("--password and --password-stdin exclude each other")}
		}
		fmt.Fprintln(stderr(), "WARNING! Using --password via the CLI is insecure. Use --password-stdin.")
	}
	if f.stdin {
		if f.user == "" {
			return c, usageError{errors.New("--password-stdin needs --username")}
		}
		const longest = 64 << 10
		data, err := io.ReadAll(io.LimitReader(stdin(ctx), longest))
		if err != nil {
			return c, err
		}
		c.Password = strings.TrimRight(string(data), "\r\n")
	}
	if c.Username != "" && c.Password != "" {
		return c, nil
	}
	if f.stdin {
		return c, errors.New("log in: the password on standard input is empty")
	}
	return askCredentials(ctx, host, c)
}

// askCredentials asks on the terminal.
func askCredentials(ctx context.Context, host string, c registry.Credentials) (registry.Credentials, error) {
	fd := int(os.Stdin.Fd())
	if !term.IsTerminal(fd) {
		return c, usageError{errors.New("log in: no terminal to ask on: give --username and --password-stdin")}
	}
	if c.Username == "" {
		old, _ := registry.Stored(host) // nothing to suggest, then
		prompt := "Username: "
		if old.Username != "" {
			prompt = "Username (" + visible.Line(old.Username) + "): "
		}
		fmt.Fprint(stderr(), prompt)
		line, err := bufio.NewReader(stdin(ctx)).ReadString('\n')
		if err != nil {
			return c, fmt.Errorf("log in: %w", err)
		}
		if c.Username = strings.TrimSpace(line); c.Username == "" {
			c.Username = old.Username
		}
	}
	if c.Password == "" {
		fmt.Fprint(stderr(), "Password: ")
		data, err := term.ReadPassword(fd)
		fmt.Fprintln(stderr())
		if err != nil {
			return c, fmt.Errorf("log in: %w", err)
		}
		c.Password = string(data)
	}
	if c.Username == "" || c.Password == "" {
		return c, errors.New("log in: user name and password are both needed")
	}
	return c, nil
}

func (a registryCommands) logoutCommand() *cobra.Command {
	return &cobra.Command{
		Use: "logout [SERVER]", Short: "Log out from a registry", Args: wants(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			server := ""
			if len(args) > 0 {
				server = args[0]
			}
			host, err := registry.ServerName(server)
			if err != nil {
				return usageError{err}
			}
			had, err := registry.Erase(host)
			if err != nil {
				return err
			}
			text := "Not logged in to " + host
			if had {
				text = "Removing login credentials for " + host
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), text)
			return err
		},
	}
}

// tagRow is a tag as cpc search shows it.
type tagRow struct {
	Name, Tag string
	noSearchFields
}

func (a registryCommands) searchCommand() *cobra.Command {
	var l listing
	var limit int
	cmd := &cobra.Command{
		Use: "search [OPTIONS] REPOSITORY", Short: "List the tags of a repository", Args: wants(1, 1),
		Long: `List the tags of a repository in its registry. A search for words, as docker search
does, is not offered, because only Docker Hub can do that.`,
		Example: "  cpc search debian\n  cpc search registry.example.com/team/sandbox",
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.registryClient(tellStderr)
			if err != nil {
				return err
			}
			tags, err := rootfs.RemoteTags(cmd.Context(), client, args[0])
			if err != nil {
				return err
			}
			if limit > 0 && len(tags) > limit {
				tags = tags[:limit]
			}
			var rows []tagRow
			for _, t := range tags {
				rows = append(rows, tagRow{Name: rootfs.Familiar(repositoryOf(args[0])), Tag: visible.Line(t)})
			}
			return printRows(cmd.OutOrStdout(), l, []column{{"NAME", "{{.Name}}"}, {"TAG", "{{.Tag}}"}}, rows)
		},
	}
	cmd.Flags().Bool("list-tags", true, "Accepted for podman's sake: that is what it does")
	cmd.Flags().IntVar(&limit, "limit", 0, "Print at most `N` tags (default: all)")
	l.register(cmd)
	return cmd
}

// referrerRow is something that a registry keeps about an image.
type referrerRow struct {
	Digest, ArtifactType, Size string
	Annotations                map[string]string
}

func (a registryCommands) referrersCommand() *cobra.Command {
	var l listing
	cmd := &cobra.Command{
		Use: "referrers [OPTIONS] IMAGE", Short: "List the referrers of an image: bills of materials, signatures", Args: wants(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.registryClient(tellStderr)
			if err != nil {
				return err
			}
			found, err := rootfs.RemoteReferrers(cmd.Context(), client, args[0])
			if err != nil {
				return err
			}
			var rows []referrerRow
			for _, d := range found {
				rows = append(rows, referrerRow{d.Digest.String(), visible.Line(d.ArtifactType), fmt.Sprint(d.Size), d.Annotations})
			}
			return printRows(cmd.OutOrStdout(), l, []column{{"DIGEST", "{{.Digest}}"}, {"TYPE", "{{.ArtifactType}}"}, {"SIZE", "{{.Size}}"}}, rows)
		},
	}
	l.register(cmd)
	return cmd
}

// pullOptions are those of a pull that a person follows.
func (a *app) pullOptions(platform string, p *progress) (rootfs.PullOptions, error) {
	client, err := a.registryClient(p.say)
	if err != nil {
		return rootfs.PullOptions{}, err
	}
	want, err := optionalPlatform(platform)
	return rootfs.PullOptions{Client: client, Progress: p.event, Unpack: a.inside != nil, Platform: want}, err
}

// optionalPlatform is a flag --platform; nil if it was not given.
func optionalPlatform(s string) (*v1.Platform, error) {
	if s == "" {
		return nil, nil
	}
	p, err := rootfs.ParsePlatform(s)
	if err != nil {
		return nil, usageError{err}
	}
	return &p, nil
}
