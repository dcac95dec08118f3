// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/runtime"
)

// command is one subcommand. Its flags are defined on fs before parsing; the
// returned function runs it.
type command struct {
	name, args, about string
	min, max          int  // positional arguments; max < 0: any number
	stopAtFirst       bool // what follows the first argument is not ours
	failure           int  // exit status of an error; 0 is 1
	setup             func(fs *flag.FlagSet) func(g global, args []string) (int, error)
}

// global are the options in front of the command.
type global struct {
	runtime.Runtime
	log       runtime.Log
	rootGiven bool
}

func commands() []command {
	return []command{
		checkpointCommand(), createCommand(), deleteCommand(), eventsCommand(), execCommand(), featuresCommand(),
		killCommand(), listCommand(), pauseCommand(), psCommand(), restoreCommand(), resumeCommand(), runCommand(),
		specCommand(), startCommand(), stateCommand(), updateCommand(),
	}
}

// dispatch runs a command line and returns the exit status.
func dispatch(args []string) int {
	asRunc := calledAs() == "runc"
	g := global{log: runtime.Log{AsRunc: asRunc}, Runtime: runtime.Runtime{AsRunc: asRunc}}
	fs := newFlags(program)
	fs.StringVar(&g.Root, "root", runtime.DefaultRoot(), "keep the containers' states in `dir`")
	fs.StringVar(&g.log.File, "log", "", "write messages to `file` as well")
	fs.StringVar(&g.log.Format, "log-format", "text", "`text` or json")
	fs.BoolVar(&g.log.Debug, "debug", false, "log more")
	fs.BoolVar(&g.SystemdCgroup, "systemd-cgroup", false, "have systemd make the cgroups")
	fs.StringVar(&g.Rootless, "rootless", "auto", "leave cgroups that may not be written alone: true, false or `auto`")
	fs.String("criu", "", "ignored: criu is looked up in PATH; for callers of older runtimes")
	version := flagAlias(fs, "version", "v", "print the version")
	if err := fs.Parse(args); err != nil {
		return usageError(g, fs, err)
	}
	if *version {
		fmt.Fprint(os.Stdout, visible.Text(runtime.VersionText(calledAs())))
		return 0
	}
	asked := fs.Args()
	if len(asked) > 1 && isHelp(asked[0]) {
		asked = []string{asked[1], "--help"}
	}
	if len(asked) == 0 || isHelp(asked[0]) {
		printHelp(os.Stdout, fs)
		return 0
	}
	fs.Visit(func(f *flag.Flag) { g.rootGiven = g.rootGiven || f.Name == "root" })
	if err := g.prepare(); err != nil {
		g.log.File = "" // it may be what could not be opened
		g.log.Report(err)
		return 1
	}
	for _, c := range commands() {
		if c.name == asked[0] {
			return c.run(g, asked[1:])
		}
	}
	// Words and status as runc has them, which is asked whether it knows a command.
	g.log.Report(fmt.Errorf("No help topic for '%s': no such command; see --help", asked[0])) //nolint:staticcheck // the words of others
	return unknownCommand
}

// program is the name of the flags in front of the command.
const program = "cpc-runtime"

// unknownCommand is the exit status of a command that does not exist: runc's.
const unknownCommand = 3

func isHelp(name string) bool { return name == "help" || name == "h" }

func (g *global) prepare() error {
	root, err := filepath.Abs(g.Root)
	if err != nil || g.Root == "" {
		return errors.Join(fmt.Errorf("--root %q: not a directory", g.Root), err)
	}
	g.Root = root
	g.TellLongWay = g.log.File != "" && g.log.Format == "json" && !g.log.AsRunc
	return g.log.Apply()
}

func (c command) run(g global, args []string) int {
	fs := newFlags(c.name)
	do := c.setup(fs)
	positional, err := c.parse(fs, args)
	if err != nil {
		return usageError(g, fs, err)
	}
	failure := max(c.failure, 1)
	if len(positional) < c.min || c.max >= 0 && len(positional) > c.max {
		g.log.Report(fmt.Errorf("%s: wrong number of arguments; usage: cpc-runtime %s [options] %s", c.name, c.name, c.args))
		return failure
	}
	status, err := do(g, positional)
	if err != nil {
		if g.log.AsRunc && len(positional) > 0 {
			g.log.Report(c.asRunc(positional[0], err))
			return failure
		}
		g.log.Report(err)
		return runtime.ExitCode(err, failure)
	}
	return status
}

// asRunc has runc's words in front of what went wrong, in the place of ours.
func (c command) asRunc(id string, err error) error {
	cause := strings.TrimPrefix(err.Error(), c.name+" "+id+": ")
	switch c.name {
	case "create", "run":
		cause = "runc " + c.name + " failed: " + cause
	case "exec":
		cause = "exec failed: " + cause
	}
	return errors.New(cause)
}

// parse allows options after arguments too, as in "delete ID --force".
func (c command) parse(fs *flag.FlagSet, args []string) ([]string, error) {
	var positional []string
	for {
		if err := fs.Parse(args); err != nil {
			return nil, err
		}
		rest := fs.Args()
		ended := len(args) > len(rest) && args[len(args)-len(rest)-1] == "--"
		if len(rest) == 0 || c.stopAtFirst || ended {
			return append(positional, rest...), nil
		}
		positional, args = append(positional, rest[0]), rest[1:]
	}
}

func newFlags(name string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	return fs
}

// usageError prints help if that was asked for, or else what is wrong.
func usageError(g global, fs *flag.FlagSet, err error) int {
	if !errors.Is(err, flag.ErrHelp) {
		if fs.Name() != program { // that is said already
			err = fmt.Errorf("%s: %w", fs.Name(), err)
		}
		g.log.Report(fmt.Errorf("%w; see --help", err))
		return 1
	}
	for _, c := range commands() {
		if c.name == fs.Name() {
			name := calledAs() + " " + c.name
			fmt.Fprintf(visible.Writer(os.Stdout), "NAME:\n   %s - %s\n\nUSAGE:\n   %s [command options] %s\n\n", name, c.about, name, c.args)
			printFlags(os.Stdout, fs)
			return 0
		}
	}
	printHelp(os.Stdout, fs)
	return 0
}

func printHelp(w io.Writer, fs *flag.FlagSet) {
	name := calledAs()
	fmt.Fprintf(w, "NAME:\n   %s - Open Container Initiative runtime, for sandboxes; a replacement of runc\n\n", name)
	fmt.Fprintf(w, "USAGE:\n   %s [global options] command [command options] [arguments...]\n\nCOMMANDS:\n", name)
	for _, c := range commands() {
		fmt.Fprintf(w, "   %-10s  %s\n", c.name, c.about)
	}
	fmt.Fprintf(w, "   %-10s  %s\n\n", "reaper", "Be pid 1: run \"reaper -- COMMAND\", pass signals on, reap orphans")
	printFlags(w, fs)
}

// calledAs is this program's name: runc, where it stands in for that.
func calledAs() string { return filepath.Base(os.Args[0]) }

// printFlags lists flags, those that mean the same on one line.
func printFlags(w io.Writer, fs *flag.FlagSet) {
	fmt.Fprintln(w, "OPTIONS:")
	names := map[flag.Value][]string{}
	fs.VisitAll(func(f *flag.Flag) {
		name := "--" + f.Name
		if len(f.Name) == 1 {
			name = "-" + f.Name
		}
		names[f.Value] = append(names[f.Value], name)
	})
	fs.VisitAll(func(f *flag.Flag) {
		all, ok := names[f.Value]
		if !ok {
			return
		}
		delete(names, f.Value)
		arg, usage := flag.UnquoteUsage(f)
		fmt.Fprintf(w, "   %-28s  %s\n", strings.TrimSpace(strings.Join(all, ", ")+" "+arg), usage)
	})
}

// flagAlias defines a boolean flag with a short name.
func flagAlias(fs *flag.FlagSet, name, short, usage string) *bool {
	b := fs.Bool(name, false, usage)
	fs.Var(fs.Lookup(name).Value, short, usage)
	return b
}

// stringAlias defines a string flag with a short name.
func stringAlias(fs *flag.FlagSet, p *string, name, short, usage string) {
	fs.StringVar(p, name, "", usage)
	fs.Var(fs.Lookup(name).Value, short, usage)
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(v string) error { *l = append(*l, v); return nil }

func listFlag(fs *flag.FlagSet, p *[]string, usage string, names ...string) {
	for _, name := range names {
		fs.Var((*list)(p), name, usage)
	}
}
