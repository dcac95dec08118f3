// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/claude-pocket-console/cpc/build"
	"github.com/claude-pocket-console/cpc/build/dockerfile"
	"github.com/claude-pocket-console/cpc/internal/terminal"
	"github.com/claude-pocket-console/cpc/rootfs"
	"github.com/claude-pocket-console/cpc/sandbox"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
	"github.com/claude-pocket-console/cpc/sandbox/emulate"
	"github.com/claude-pocket-console/cpc/sandbox/network"
	"github.com/claude-pocket-console/cpc/sandbox/record"
	"github.com/claude-pocket-console/cpc/sandbox/step"
	"github.com/claude-pocket-console/cpc/sbom"
)

type buildFlags struct {
	file, target, progress, iidfile string
	tags, args                      []string
	secrets, ssh, contexts, allow   []string
	network, metadata               string
	output, platforms               []string
	labels, annotations             []string
	noCacheFilter                   []string
	cacheFrom, cacheTo              []string
	cachesTo                        []cachePlace
	used                            []digest.Digest // cache keys
	noCache, pull, quiet            bool
	push, load                      bool
	archived                        bool // an output goes to standard output
	sbom, scan                      bool
	scanning                        scanFlags
	net                             netFlags
	steps                           stepFlags
	check                           bool
	call                            string
}

func (a buildCommands) buildCommand() *cobra.Command {
	f := &buildFlags{}
	cmd := &cobra.Command{
		Use: "build [OPTIONS] CONTEXT", Short: "Build an image from a Dockerfile", Args: wants(1, 1),
		Long: `Build an image from a Dockerfile.

CONTEXT holds the files that COPY and ADD can use. It is a directory, a tar file,
the address of a git repository, or the URL of a tar or a Dockerfile. "-" reads a
tar or a Dockerfile from standard input.`,
		Example: "  cpc build -t app .\n  cpc build -f Dockerfile.sandbox -t claude-pocket-console/sandbox:latest .",
		RunE: func(cmd *cobra.Command, args []string) error {
			if a.inside == nil {
				return a.inU0(os.Args[1:])
			}
			before := cacheChanged(a.app)
			err := a.build(cmd, f, args[0])
			boundCache(cmd.Context(), a.app, before, f.silent())
			return err
		},
	}
	f.register(cmd.Flags())
	return cmd
}

func (f *buildFlags) register(fs *pflag.FlagSet) {
	fs.StringVarP(&f.file, "file", "f", "", "`PATH` of the Dockerfile (default: CONTEXT/Dockerfile); - is standard input")
	fs.StringArrayVarP(&f.tags, "tag", "t", nil, "`NAME[:TAG]` of the image; may be given several times")
	fs.StringArrayVar(&f.args, "build-arg", nil, "Set a build argument: `NAME[=VALUE]`")
	fs.StringVar(&f.target, "target", "", "Build only up to this `STAGE` (a name or number)")
	fs.StringSliceVar(&f.platforms, "platform", nil, "Build for `PLATFORM`, such as linux/arm64; several platforms make one multi-platform image")
	fs.StringArrayVarP(&f.output, "output", "o", nil, "Write the result to a `DIRECTORY`, or to type=local|tar|oci|docker|image|registry[,dest=PATH]")
	fs.BoolVar(&f.push, "push", false, "Push the image to its registry")
	fs.BoolVar(&f.load, "load", false, "Keep the image in the store (this is always done)")
	fs.BoolVar(&f.noCache, "no-cache", false, "Do not use the cache")
	fs.StringArrayVar(&f.cacheFrom, "cache-from", nil, "Use a cache that --cache-to wrote: `type=local,src=DIRECTORY`, type=registry,ref=NAME, or the name of an image")
	fs.StringArrayVar(&f.cacheTo, "cache-to", nil, "Write the cache of this build to `type=local,dest=DIRECTORY`, type=registry,ref=NAME (both with mode=min|max) or type=inline")
	fs.StringSliceVar(&f.noCacheFilter, "no-cache-filter", nil, "Do not use the cache for these `STAGES`")
	fs.BoolVar(&f.pull, "pull", false, "Pull newer base images from their registries")
	fs.StringArrayVar(&f.labels, "label", nil, "Add a label to the image: `NAME=VALUE`")
	fs.StringArrayVar(&f.annotations, "annotation", nil, "Add an annotation to the image's manifest: `NAME=VALUE`")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "Print only the id of the image")
	fs.StringVar(&f.progress, "progress", firstOf(os.Getenv("BUILDKIT_PROGRESS"), "auto"), "Show progress in this `FORMAT`: auto, tty, plain, rawjson or quiet")
	fs.StringArrayVar(&f.secrets, "secret", nil, "Give RUN --mount=type=secret a secret: `id=ID[,src=FILE|,env=VARIABLE]`")
	fs.StringArrayVar(&f.ssh, "ssh", nil, "Give RUN --mount=type=ssh an agent or keys: `default|ID[=SOCKET|KEY[,KEY]]`")
	fs.StringArrayVar(&f.contexts, "build-context", nil, "Add a named context: `NAME=DIRECTORY`, or a URL, docker-image://IMAGE or oci-layout://DIRECTORY")
	fs.StringVar(&f.network, "network", "default", "`NETWORK` of RUN steps: default (only the hosts of the allowlist, see --egress), none or host")
	f.net.register(fs)
	f.steps.register(fs)
	fs.BoolVar(&f.check, "check", false, "Check the Dockerfile for common mistakes and build nothing")
	fs.StringVar(&f.call, "call", "build", "`ACTION` to perform: build or check")
	fs.StringSliceVar(&f.allow, "allow", nil, "Allow the Dockerfile a privilege: `network.host`")
	fs.StringVar(&f.iidfile, "iidfile", "", "Write the image's id to `FILE`")
	fs.StringVar(&f.metadata, "metadata-file", "", "Write a description of the result to `FILE`, as JSON")
	fs.BoolVar(&f.sbom, "sbom", true, "Record the bill of materials of the image (see cpc sbom)")
	fs.BoolVar(&f.scan, "scan", false, "Check the image against security advisories (see cpc scan)")
	f.scanning.register(fs)
}

// stepRunner lets the builder run commands in sandboxes.
type stepRunner struct{ steps *step.Runner }

// Run implements build.Runner.
func (r stepRunner) Run(ctx context.Context, s build.Process) error {
	var mounts []step.Mount
	for _, m := range s.Mounts {
		mounts = append(mounts, step.Mount(m))
	}
	code, err := r.steps.Run(ctx, sandbox.Step{
		Mounts: mounts, Network: s.Network,
		Rootfs: s.Rootfs, Args: s.Args, Env: s.Env, Dir: s.Dir, User: s.User,
		Stdout: s.Stdout, Stderr: s.Stderr, Mapping: s.Mapping,
	})
	if err != nil {
		return err
	}
	if code != 0 {
		return &build.ExitError{Code: code}
	}
	return nil
}

func (a buildCommands) build(cmd *cobra.Command, f *buildFlags, contextDir string) error {
	ctx := cmd.Context()
	if err := f.canExamine(); err != nil {
		return err
	}
	check, err := f.called()
	if err != nil {
		return err
	}
	outs, err := f.outputs()
	if err != nil {
		return usageError{err}
	}
	if err := f.canReport(); err != nil {
		return err
	}
	store, err := a.inside.store()
	if err != nil {
		return err
	}
	defer store.Close()
	held, err := record.Set{Dirs: a.inside.Dirs}.HoldBuild()
	if err != nil {
		return err
	}
	defer held.Close()
	net, err := a.stepNetwork(cmd, f)
	if err != nil {
		return err
	}
	from, err := newContextSource(ctx, store, net.Policy)
	if err != nil {
		return err
	}
	defer from.Close()
	o, inUse, err := f.options(ctx, from, contextDir)
	if err != nil {
		return err
	}
	o.Store, o.Egress, o.Connect = store, from.Egress, from.Connect
	if check {
		return a.checkOnly(ctx, o)
	}
	if err := a.equip(cmd, f, o, net, inUse); err != nil {
		return err
	}
	if err := a.importCaches(ctx, f, o); err != nil {
		return err
	}
	o.Ready = func(_ context.Context, images []*rootfs.Image) error {
		return a.ready(cmd, f, outs, images, o)
	}
	result, err := f.run(ctx, o)
	if err != nil {
		return err
	}
	return f.report(result)
}

// ready does what can fail before an image has its names in the store: what is
// named or reported afterwards is complete. What is pushed comes last, as nothing
// takes it back.
func (a buildCommands) ready(cmd *cobra.Command, f *buildFlags, outs []output, images []*rootfs.Image, o *build.Options) error {
	if err := a.examineAll(cmd, f, o.Store, images); err != nil {
		return err
	}
	if err := a.exportCaches(cmd.Context(), f, o, images); err != nil {
		return err
	}
	if err := a.write(cmd.Context(), outs, images, o); err != nil {
		return err
	}
	if slices.ContainsFunc(outs, func(o output) bool { return o.push }) {
		return a.pushAll(cmd.Context(), images, o)
	}
	return nil
}

func (a buildCommands) examineAll(cmd *cobra.Command, f *buildFlags, store *rootfs.Store, images []*rootfs.Image) error {
	for _, img := range images {
		if err := a.examine(cmd, f, store, img); err != nil {
			return err
		}
	}
	return nil
}

// equip gives a build what it works with.
func (a buildCommands) equip(cmd *cobra.Command, f *buildFlags, o *build.Options, net network.Options, inUse []string) error {
	f.net.tell("cpc build")
	limits, err := f.steps.options(cmd.Flags())
	if err != nil {
		return usageError{err}
	}
	steps, err := sandbox.NewSteps(a.runtime, a.inside.Dirs, net, limits, inUse...)
	if err != nil {
		return err
	}
	if o.Progress, err = f.newProgress(); err != nil {
		return err
	}
	store := o.Store
	o.Mapping, o.Runner = a.inside.Mapping, stepRunner{steps}
	o.Pull = func(ctx context.Context, ref string, platform v1.Platform, status func(string)) (*rootfs.Image, error) {
		return a.pullFor(ctx, store, ref, &platform, status)
	}
	o.Emulate = func(p v1.Platform) error {
		if emulate.Native(p.Architecture) {
			return nil
		}
		return emulate.Enable(a.inside.Mapping.Mode, p.Architecture)
	}
	return nil
}

// run builds for one platform or for several.
func (f *buildFlags) run(ctx context.Context, o *build.Options) (*built, error) {
	var platforms []v1.Platform
	for _, name := range f.platforms {
		p, err := dockerfile.ParsePlatform(name)
		if err != nil {
			return nil, usageError{fmt.Errorf("--platform: %w", err)}
		}
		platforms = append(platforms, p)
	}
	if len(platforms) > 1 {
		idx, err := build.BuildAll(ctx, *o, platforms)
		if err != nil {
			return nil, err
		}
		return &built{images: idx.Images, digest: idx.Digest, id: idx.Digest}, nil
	}
	if len(platforms) == 1 {
		o.Platform = platforms[0]
	}
	img, err := build.Build(ctx, *o)
	if err != nil {
		return nil, err
	}
	return &built{images: []*rootfs.Image{img}, digest: img.Digest, id: img.ConfigDigest}, nil
}

// options reads the flags, and returns the paths that must stay visible.
func (f *buildFlags) options(ctx context.Context, from *build.ContextSource, contextDir string) (*build.Options, []string, error) {
	args, err := buildArgs(f.args)
	if err != nil {
		return nil, nil, usageError{err}
	}
	o := &build.Options{
		Stdin: stdin(ctx), Tags: f.tags, Args: args, Target: f.target, NoCache: f.noCache, AlwaysPull: f.pull, NoCacheStages: f.noCacheFilter,
	}
	if o.Labels, err = pairs("label", f.labels); err != nil {
		return nil, nil, usageError{err}
	}
	if o.Annotations, err = pairs("annotation", f.annotations); err != nil {
		return nil, nil, usageError{err}
	}
	if err := f.context(ctx, from, contextDir, o); err != nil {
		return nil, nil, err
	}
	inUse, err := f.inputs(ctx, from, o)
	if err != nil {
		return nil, nil, usageError{err}
	}
	return o, append(inUse, o.ContextDir, o.Dockerfile), nil
}

// canExamine finds out before a build what would fail after it.
func (f *buildFlags) canExamine() error {
	if _, _, err := f.scanning.parse(); err != nil {
		return usageError{err}
	}
	if !f.sbom && !f.scan {
		return nil
	}
	_, err := sbom.Find()
	return err
}

// examine records what a new image contains, and looks it up as asked. A
// rebuild that gave the image that was there finds its bill there, too.
func (a buildCommands) examine(cmd *cobra.Command, f *buildFlags, store *rootfs.Store, img *rootfs.Image) error {
	ctx := cmd.Context()
	recorded, err := store.Artifacts(ctx, img.Digest, sbom.SPDXType)
	if err != nil || !f.scan && (!f.sbom || len(recorded) > 0) || len(img.Manifest.Layers) == 0 {
		return err
	}
	found, err := contentCommands(a).inventory(ctx, store, img, f.silent())
	if err == nil && f.sbom && len(recorded) == 0 {
		err = recordMaterials(ctx, store, img, found)
	}
	if err != nil || !f.scan {
		return err
	}
	return contentCommands(a).scan(cmd, &f.scanning, listing{}, found.Inventory.Packages)
}

// stepNetwork is what RUN steps may reach, and what they find there.
func (a buildCommands) stepNetwork(cmd *cobra.Command, f *buildFlags) (o network.Options, err error) {
	if f.net.egress.Config, err = a.configuration(); err != nil {
		return o, err
	}
	f.net.egress.Build = true
	mode := f.network
	if mode != bundle.NetworkNone && mode != bundle.NetworkHost {
		mode = bundle.NetworkAllowlist
	}
	if o, err = f.net.parse(cmd.Flags().Changed, mode); err != nil {
		return o, usageError{err}
	}
	o.Policy, err = f.net.egress.Policy("")
	o.Asked = f.net.egress.Asked(o.Policy)
	if err == nil && mode == bundle.NetworkAllowlist {
		f.net.egress.NoteHosts(o)
	}
	return o, err
}

func (f *buildFlags) newProgress() (build.Progress, error) {
	tty := terminal.Is(os.Stderr)
	switch {
	case f.quiet, f.progress == "quiet", f.progress == "none":
		return nil, nil //nolint:nilnil // build.Options: nobody is told
	case f.progress == "plain", f.progress == "auto" && !tty:
		return build.PlainProgress(os.Stderr), nil
	case f.progress == "rawjson", f.progress == "json":
		return build.JSONProgress(os.Stderr), nil
	case f.progress == "tty", f.progress == "auto":
		return build.TerminalProgress(os.Stderr, build.TerminalOptions{Size: stderrSize, Color: os.Getenv("NO_COLOR") == ""}), nil
	}
	return nil, usageError{fmt.Errorf("--progress %q: choose auto, tty, plain, rawjson or quiet", f.progress)}
}

// silent reports whether nothing is to be said of how the build goes on, or not
// by way of words.
func (f *buildFlags) silent() bool {
	return f.quiet || slices.Contains([]string{"quiet", "none", "rawjson", "json"}, f.progress)
}

func stderrSize() (rows, columns int) {
	if rows, cols, ok := terminal.Size(os.Stderr); ok {
		return int(rows), int(cols)
	}
	return 24, 80
}

// buildArgs takes NAME alone from the environment, and leaves it out where it
// is not set there, as docker does.
func buildArgs(given []string) (map[string]string, error) {
	args := map[string]string{}
	if epoch, ok := os.LookupEnv("SOURCE_DATE_EPOCH"); ok {
		args["SOURCE_DATE_EPOCH"] = epoch
	}
	for _, g := range given {
		name, value, ok := strings.Cut(g, "=")
		if name == "" {
			return nil, fmt.Errorf("--build-arg %q: must be NAME=VALUE", g)
		}
		if !ok {
			if value, ok = os.LookupEnv(name); !ok {
				continue
			}
		}
		args[name] = value
	}
	return args, nil
}
