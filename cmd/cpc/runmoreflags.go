// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/claude-pocket-console/cpc/internal/dockerflag"
	"github.com/claude-pocket-console/cpc/sandbox"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
)

// moreFlags are flags of docker run that few need.
type moreFlags struct {
	attach, expose, groupAdd, labelFiles, mounts, annotations, logOpts []string
	domainname, logDriver                                              string
	quiet                                                              bool
}

func (f *moreFlags) register(fs *pflag.FlagSet) {
	fs.StringArrayVarP(&f.attach, "attach", "a", nil, "Attach only this `STREAM`: stdin, stdout or stderr")
	fs.StringArrayVar(&f.groupAdd, "group-add", nil, "Add the user to `GROUP`, by name or id")
	fs.StringVar(&f.domainname, "domainname", "", "NIS domain `NAME` of the sandbox")
	fs.StringArrayVar(&f.expose, "expose", nil, "Record a `PORT[/PROTOCOL]` of the program; this does not make the port reachable")
	fs.StringArrayVar(&f.labelFiles, "label-file", nil, "Read labels from `FILE`, one per line")
	fs.StringArrayVar(&f.mounts, "mount", nil, "Mount a tmpfs: `type=tmpfs,target=PATH[,tmpfs-size=BYTES][,tmpfs-mode=MODE]`")
	fs.StringArrayVar(&f.annotations, "annotation", nil, "Add an annotation to the OCI configuration: `KEY=VALUE`")
	fs.StringVar(&f.logDriver, "log-driver", logLocal, "`DRIVER`: local (a file of bounded size, for cpc logs) or none")
	fs.StringArrayVar(&f.logOpts, "log-opt", nil, "Accepted for compatibility with docker: max-size, max-file; the log is always bounded")
	_ = fs.MarkHidden("log-opt") // it is there
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "Do not show progress of a pull or of a slow start")
}

const logLocal = "local"

// parse makes sense of all but the labels.
func (f *moreFlags) parse(req *sandbox.RunRequest) error {
	o := &req.Options
	for _, step := range []func(*bundle.Options) error{f.parseMounts, f.parseLog, f.parseNames} {
		if err := step(o); err != nil {
			return err
		}
	}
	for _, a := range f.attach {
		if !slices.Contains([]string{"stdin", "stdout", "stderr"}, strings.ToLower(a)) {
			return fmt.Errorf("--attach %q: choose stdin, stdout or stderr", a)
		}
	}
	if len(f.attach) > 0 && req.Detach {
		return errors.New("--attach connects to the sandbox, and --detach does not: choose one")
	}
	return nil
}

func (f *moreFlags) parseMounts(o *bundle.Options) error {
	var given []bundle.Tmpfs
	for _, m := range f.mounts {
		mount, err := dockerflag.ParseMount(m)
		if errors.Is(err, dockerflag.ErrNotTmpfs) {
			return errors.New("--mount is offered for type=tmpfs only: " + noHostFiles)
		}
		if err != nil {
			return flagError("--mount", err)
		}
		given = append(given, mount)
	}
	o.Tmpfs = bundle.MergeTmpfs(o.Tmpfs, given)
	return nil
}

func (f *moreFlags) parseLog(o *bundle.Options) error {
	switch f.logDriver {
	case logLocal, "json-file", "k8s-file", "":
	case "none":
		o.NoLog = true
	default:
		return fmt.Errorf("--log-driver=%s is not offered: %s", f.logDriver, noLogs)
	}
	for _, opt := range f.logOpts {
		key, _, _ := strings.Cut(opt, "=")
		if !slices.Contains([]string{"max-size", "max-file", "compress", "mode", "max-buffer-size"}, key) {
			return fmt.Errorf("--log-opt=%s is not offered: %s", opt, noLogs)
		}
	}
	return nil
}

// parseNames makes sense of groups, ports, the domain and annotations.
func (f *moreFlags) parseNames(o *bundle.Options) error {
	for _, g := range f.groupAdd {
		if g == "keep-groups" {
			return errors.New("--group-add keep-groups is not offered: the host's groups are not the sandbox's. Name one of the image's")
		}
		if u, err := dockerflag.ParseUser("0:" + g); err != nil || u.Group == "" {
			return fmt.Errorf("--group-add %q: must be a group's name or id", g)
		}
	}
	o.GroupAdd = f.groupAdd
	for _, e := range f.expose {
		ports, err := dockerflag.ParseExpose(e)
		if err != nil {
			return flagError("--expose", err)
		}
		o.Expose = append(o.Expose, ports...)
	}
	if f.domainname != "" {
		if err := dockerflag.CheckHostname(f.domainname); err != nil {
			return flagError("--domainname", err)
		}
	}
	o.Domainname = f.domainname
	for _, a := range f.annotations {
		key, value, err := dockerflag.ParseLabel(a)
		if err != nil {
			return flagError("--annotation", err)
		}
		if o.Annotations == nil {
			o.Annotations = map[string]string{}
		}
		o.Annotations[key] = value
	}
	return nil
}

// labels are those of --label-file; a KEY alone has no value.
func (f *moreFlags) labels() (all []string, err error) {
	for _, name := range f.labelFiles {
		lines, err := readKeyFile(name, func(string) (string, bool) { return "", true })
		if err != nil {
			return nil, flagError("--label-file", err)
		}
		all = append(all, lines...)
	}
	return all, nil
}

// streams says what a session is connected to; without --attach it is all.
func (f *moreFlags) streams(stdin bool) (in, out, failing bool) {
	if len(f.attach) == 0 {
		return stdin, true, true
	}
	has := func(name string) bool {
		return slices.ContainsFunc(f.attach, func(a string) bool { return strings.EqualFold(a, name) })
	}
	return stdin && has("stdin"), has("stdout"), has("stderr")
}

// connection is what a session is connected to. Output that is not wanted goes
// nowhere; where none is, the id is printed, as by docker.
func (f *moreFlags) connection(s *sandbox.Session, stdin bool) (c connection, done func(), err error) {
	in, out, failing := f.streams(stdin)
	c = connection{stdin: in, proxy: true}
	if out && failing {
		return c, func() {}, nil
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return c, nil, err
	}
	if !out {
		c.out = null
	}
	if !failing {
		c.err = null
	}
	if !out && !failing {
		_, err = fmt.Fprintln(stdout(), s.ID)
	}
	return c, func() { _ = null.Close() }, err
}
