// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/host"
	"github.com/claude-pocket-console/cpc/rootfs"
	"github.com/claude-pocket-console/cpc/sandbox"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
	"github.com/claude-pocket-console/cpc/sandbox/inspect"
	"github.com/claude-pocket-console/cpc/sandbox/journal"
	"github.com/claude-pocket-console/cpc/sandbox/record"
)

func exampleRecord() *record.Record {
	at := time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)
	return &record.Record{
		ID: strings.Repeat("0123456789abcdef", 4), Name: "box", Status: record.Running, Created: at, Started: at,
		Asked: record.Asked{
			Image: "debian:trixie-slim", ImageDigest: "sha256:" + strings.Repeat("a", 64), Labels: map[string]string{"com.example": "v"},
			Options: bundle.Options{Network: "allowlist"},
		},
		Applied: record.Applied{Command: []string{"sleep", "9"}, Hostname: "box", Env: []string{"A=1"}},
	}
}

func exampleImage() *rootfs.Image {
	at := time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)
	d := digest.FromString("x")
	img := &rootfs.Image{Names: []string{"docker.io/library/debian:trixie-slim"}, Digest: d, ConfigDigest: d, Size: 1 << 20}
	img.Config.Created, img.Config.Architecture, img.Config.OS = &at, "amd64", "linux"
	img.Config.History = []v1.History{{Created: &at, CreatedBy: "RUN x"}}
	img.Config.Config.Labels = map[string]string{"com.example": "v"}
	return img
}

// dockerFields are the fields that docker documents for --format, by command:
// of docs/reference/commandline in docker/cli, and for inspect of its API.
func dockerFields() map[string]string {
	return map[string]string{
		"ps": `.ID .Image .Command .CreatedAt .RunningFor .Ports .State .Status .Size .Names .Labels .Mounts .Networks .LocalVolumes
			.Platform .HealthStatus .IPAddresses`,
		"images": `.ID .Repository .Tag .Digest .CreatedSince .CreatedAt .Size .Containers .SharedSize .UniqueSize .VirtualSize`,
		"stats":  `.Container .Name .ID .CPUPerc .MemUsage .NetIO .BlockIO .MemPerc .PIDs`,
		"events": `.Status .ID .From .Type .Action .Actor.ID .Actor.Attributes.name .Actor.Attributes.image .Actor.Attributes.exitCode .Scope
			.Time .TimeNano`,
		"history": `.ID .CreatedAt .CreatedSince .CreatedBy .Size .Comment`,
		"search":  `.Name .Description .StarCount .IsOfficial .IsAutomated`,
		"df":      `.Type .TotalCount .Active .Size .Reclaimable`,
		"version": `.Client.Version .Client.ApiVersion .Client.DefaultAPIVersion .Client.GitCommit .Client.GoVersion .Client.Os .Client.Arch
			.Client.BuildTime .Client.Context .Client.Platform.Name .Server.Version .Server.ApiVersion .Server.MinAPIVersion .Server.GitCommit
			.Server.GoVersion .Server.Os .Server.Arch .Server.KernelVersion .Server.Experimental .Server.BuildTime .Server.Platform.Name
			.Server.Components`,
		"info": `.ID .Containers .ContainersRunning .ContainersPaused .ContainersStopped .Images .Driver .DriverStatus .Plugins .MemoryLimit
			.SwapLimit .CpuCfsPeriod .CpuCfsQuota .CPUShares .CPUSet .PidsLimit .IPv4Forwarding .Debug .NFd .OomKillDisable .NGoroutines
			.SystemTime .LoggingDriver .CgroupDriver .CgroupVersion .NEventsListener .KernelVersion .OperatingSystem .OSVersion .OSType
			.Architecture .IndexServerAddress .RegistryConfig .NCPU .MemTotal .GenericResources .DockerRootDir .HttpProxy .HttpsProxy .NoProxy
			.Name .Labels .ExperimentalBuild .ServerVersion .Runtimes .DefaultRuntime .Swarm .LiveRestoreEnabled .InitBinary .ContainerdCommit.ID
			.RuncCommit.ID .InitCommit.ID .SecurityOptions .ProductLicense .DefaultAddressPools .Warnings .ServerErrors .ClientInfo
			.Swarm.LocalNodeState .Plugins.Volume .RegistryConfig.Mirrors`,
		"sandbox": `.Id .Created .Path .Args .State.Status .State.Running .State.Paused .State.Restarting .State.OOMKilled .State.Dead .State.Pid
			.State.ExitCode .State.Error .State.StartedAt .State.FinishedAt .State.Health.Status .State.Health.FailingStreak .State.Health.Log
			.Image .ResolvConfPath .HostnamePath .HostsPath .LogPath .Name .RestartCount .Driver .Platform .MountLabel .ProcessLabel
			.AppArmorProfile .ExecIDs .GraphDriver.Name .GraphDriver.Data .SizeRw .SizeRootFs .Mounts
			.HostConfig.Binds .HostConfig.ContainerIDFile .HostConfig.LogConfig.Type .HostConfig.LogConfig.Config .HostConfig.NetworkMode
			.HostConfig.PortBindings .HostConfig.RestartPolicy.Name .HostConfig.RestartPolicy.MaximumRetryCount .HostConfig.AutoRemove
			.HostConfig.VolumeDriver .HostConfig.VolumesFrom .HostConfig.ConsoleSize .HostConfig.CapAdd .HostConfig.CapDrop
			.HostConfig.CgroupnsMode .HostConfig.Dns .HostConfig.DnsOptions .HostConfig.DnsSearch .HostConfig.ExtraHosts .HostConfig.GroupAdd
			.HostConfig.IpcMode .HostConfig.Cgroup .HostConfig.Links .HostConfig.OomScoreAdj .HostConfig.PidMode .HostConfig.Privileged
			.HostConfig.PublishAllPorts .HostConfig.ReadonlyRootfs .HostConfig.SecurityOpt .HostConfig.StorageOpt .HostConfig.Tmpfs
			.HostConfig.UTSMode .HostConfig.UsernsMode .HostConfig.ShmSize .HostConfig.Sysctls .HostConfig.Runtime .HostConfig.Isolation
			.HostConfig.CpuShares .HostConfig.Memory .HostConfig.NanoCpus .HostConfig.CgroupParent .HostConfig.BlkioWeight
			.HostConfig.BlkioWeightDevice .HostConfig.BlkioDeviceReadBps .HostConfig.BlkioDeviceWriteBps .HostConfig.BlkioDeviceReadIOps
			.HostConfig.BlkioDeviceWriteIOps .HostConfig.CpuPeriod .HostConfig.CpuQuota .HostConfig.CpuRealtimePeriod
			.HostConfig.CpuRealtimeRuntime .HostConfig.CpusetCpus .HostConfig.CpusetMems .HostConfig.Devices .HostConfig.DeviceCgroupRules
			.HostConfig.DeviceRequests .HostConfig.KernelMemory .HostConfig.MemoryReservation .HostConfig.MemorySwap
			.HostConfig.MemorySwappiness .HostConfig.OomKillDisable .HostConfig.PidsLimit .HostConfig.Ulimits .HostConfig.CpuCount
			.HostConfig.CpuPercent .HostConfig.IOMaximumIOps .HostConfig.IOMaximumBandwidth .HostConfig.Mounts .HostConfig.MaskedPaths
			.HostConfig.ReadonlyPaths .HostConfig.Init .HostConfig.Annotations
			.Config.Hostname .Config.Domainname .Config.User .Config.AttachStdin .Config.AttachStdout .Config.AttachStderr .Config.ExposedPorts
			.Config.Tty .Config.OpenStdin .Config.StdinOnce .Config.Env .Config.Cmd .Config.Healthcheck.Test .Config.ArgsEscaped .Config.Image
			.Config.Volumes .Config.WorkingDir .Config.Entrypoint .Config.NetworkDisabled .Config.MacAddress .Config.OnBuild .Config.Labels
			.Config.StopSignal .Config.StopTimeout .Config.Shell
			.NetworkSettings.Bridge .NetworkSettings.SandboxID .NetworkSettings.HairpinMode .NetworkSettings.LinkLocalIPv6Address
			.NetworkSettings.LinkLocalIPv6PrefixLen .NetworkSettings.Ports .NetworkSettings.SandboxKey .NetworkSettings.SecondaryIPAddresses
			.NetworkSettings.SecondaryIPv6Addresses .NetworkSettings.EndpointID .NetworkSettings.Gateway .NetworkSettings.GlobalIPv6Address
			.NetworkSettings.GlobalIPv6PrefixLen .NetworkSettings.IPAddress .NetworkSettings.IPPrefixLen .NetworkSettings.IPv6Gateway
			.NetworkSettings.MacAddress .NetworkSettings.Networks .NetworkSettings.Networks.bridge.IPAddress`,
		"image": `.Id .RepoTags .RepoDigests .Parent .Comment .Created .DockerVersion .Author .Architecture .Variant .Os .OsVersion .Size
			.VirtualSize .GraphDriver.Name .RootFS.Type .RootFS.Layers .Metadata.LastTagTime .Descriptor.Digest .Manifests
			.Config.Hostname .Config.Domainname .Config.User .Config.AttachStdin .Config.ExposedPorts .Config.Tty .Config.OpenStdin
			.Config.StdinOnce .Config.Env .Config.Cmd .Config.Healthcheck.Test .Config.ArgsEscaped .Config.Image .Config.Volumes
			.Config.WorkingDir .Config.Entrypoint .Config.OnBuild .Config.Labels .Config.StopSignal .Config.Shell`,
	}
}

// dockerTemplates are templates of docker's documentation and of scripts that
// are about, with what they come to for the examples.
func dockerTemplates() map[string]map[string]string {
	return map[string]map[string]string{
		"ps": {
			`{{.Label "com.example"}}`: "v", `{{.Label "none"}}`: "", `{{.Names}}: {{.Ports}}`: "box: ", `{{.LocalVolumes}}`: "0",
			`{{join (split .Image ":") "/"}}`: "debian/trixie-slim", `{{title .State}}`: "Running", `{{json .Names}}`: `"box"`,
		},
		"sandbox": {
			`{{.State.StartedAt}}`: "2026-01-02T03:04:05.0000006Z", `{{.Created}}`: "2026-01-02T03:04:05.0000006Z", `{{slice .Created 0 10}}`: "2026-01-02",
			`{{.State.FinishedAt}}`: "0001-01-01T00:00:00Z", `{{json .State.StartedAt}}`: `"2026-01-02T03:04:05.0000006Z"`,
			`{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}`: "none", `{{eq .State.Status "running"}}`: "true",
			`{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}`: "", `{{range $p, $c := .NetworkSettings.Ports}}{{$p}} -> {{(index $c 0).HostPort}}{{end}}`: "",
			`{{range .Mounts}}{{.Source}}{{end}}`: "", `{{json .Mounts}}`: "[]", `{{index .Config.Labels "com.example"}}`: "v", `{{.Config.Labels.none}}`: "",
			`{{range .Config.Env}}{{println .}}{{end}}`: "A=1\n", `{{.Config.Env}}`: "[A=1]", `{{with .State}}{{.Running}}{{end}}`: "true",
			`{{.HostConfig.LogConfig.Type}}|{{json .HostConfig.Binds}}`: "local|null", `{{len .Mounts}}`: "0",
			`{{printf "%.12s" .Id}}`: "0123456789ab",
		},
		"image": {
			`{{.Created}}`: "2026-01-02T03:04:05.0000006Z", `{{index .RepoTags 0}}`: "debian:trixie-slim", `{{range .History}}{{.Created}}{{end}}`: "2026-01-02T03:04:05.0000006Z",
			`{{index .Config.Labels "com.example"}}`: "v", `{{len .RootFS.Layers}}`: "0", `{{.Config.Healthcheck.Test}}`: "",
		},
		"version": {`{{.Client.Os}}`: "linux"},
		"images":  {`{{.Repository}}:{{.Tag}}`: "debian:trixie-slim"},
		"events":  {`{{.Actor.Attributes.none}}`: "", `{{.Type}} {{.Status}}`: "container start"},
		"info":    {`{{range .SecurityOptions}}{{.}}{{end}}`: "", `{{json .Warnings}}`: "null"},
	}
}

// rowsOf prints with one row of each command's kind.
func rowsOf(t *testing.T) map[string]func(text string) (string, error) {
	t.Helper()
	r := exampleRecord()
	entry := &record.Entry{Record: r, Dir: t.TempDir(), DataDir: t.TempDir()}
	return map[string]func(string) (string, error){
		"ps":      printer(newRow(r, false)),
		"images":  printer(imageRows(exampleImage(), func(*rootfs.Image, string) bool { return true }, false)[0]),
		"stats":   printer((&statsFlags{}).row(sandbox.Load{ID: r.ID, Name: r.Name}, sandbox.Load{}, false)),
		"events":  printer(journal.New(r, "start", nil)),
		"history": printer(historyRows(exampleImage(), false, true)[0]),
		"search":  printer(tagRow{Name: "debian", Tag: "1"}),
		"df":      printer(dfRow{Type: "Images"}),
		"version": printer(versionsOf(host.Machine{Kernel: "6.1"})),
		"info":    printer(information{}),
		"sandbox": printer[any](inspect.OfSandbox(entry)),
		"image":   printer[any](inspect.OfImage(exampleImage())),
	}
}

func printer[T any](row T) func(string) (string, error) {
	return func(text string) (string, error) {
		var b strings.Builder
		err := printRows(&b, listing{format: text}, nil, []T{row})
		return strings.TrimSuffix(b.String(), "\n"), err
	}
}

// goText is what Go prints where something was forgotten.
var goText = regexp.MustCompile(`<no value>|<nil>|0x[0-9a-f]{6}|%!|main\.|inspect\.|UTC`)

// TestDockerFields: what is documented has a value or is empty, in templates and
// in tables.
func TestDockerFields(t *testing.T) {
	rows := rowsOf(t)
	for command, fields := range dockerFields() {
		for field := range strings.FieldsSeq(fields) {
			for _, text := range []string{"{{%s}}", "{{json %s}}", `table {{%s}}\t{{%[1]s}}`} {
				text = fmt.Sprintf(text, field)
				if got, err := rows[command](text); err != nil || goText.MatchString(got) {
					t.Errorf("%s, %s: %q, %v", command, text, got, err)
				}
			}
		}
		_, err := rows[command]("{{.Nosuch}}")
		if _, ok := errors.AsType[usageError](err); !ok || goText.MatchString(err.Error()) || !strings.HasPrefix(err.Error(), "--format: there is no field .Nosuch; it has ") {
			t.Errorf("%s, a field that does not exist: %v", command, err)
		}
	}
	for command, templates := range dockerTemplates() {
		for text, want := range templates {
			if got, err := rows[command](text); err != nil || got != want {
				t.Errorf("%s, %s: %q, %v, want %q", command, text, got, err, want)
			}
		}
	}
}
