// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package inspect

// These are fields of docker for what cpc has not: no ports, volumes, restarts or
// health checks. Templates written for docker name them, and get the empty value
// that docker has where there is nothing. JSON leaves them out, but for those
// that scripts look into.

// noPort, noMount and so on are what the empty lists and maps below would hold.
type (
	noPort  struct{ HostIP, HostPort string }
	noMount struct {
		Type, Name, Source, Destination, Driver, Mode, Propagation string
		RW                                                         bool
	}
	noNetwork struct {
		Aliases, Links, DNSNames                                                                          []string
		NetworkID, EndpointID, Gateway, IPAddress, MacAddress, IPv6Gateway, GlobalIPv6Address, DriverOpts string
		IPPrefixLen, GlobalIPv6PrefixLen                                                                  int
	}
	noHealthState struct {
		Status        string
		FailingStreak int
		Log           []struct{ Start, End, Output, ExitCode string }
	}
)

// noStateFields are those of State.
type noStateFields struct {
	Restarting bool           `json:",omitzero"`
	Dead       bool           `json:",omitzero"`
	Health     *noHealthState `json:",omitzero"`
}

// noSandboxFields are those of a sandbox.
type noSandboxFields struct {
	Mounts          []noMount
	NetworkSettings noNetworkSettings

	ResolvConfPath, HostnamePath, HostsPath string    `json:",omitzero"`
	Driver, Platform, MountLabel            string    `json:",omitzero"`
	RestartCount                            int       `json:",omitzero"`
	ExecIDs                                 []string  `json:",omitzero"`
	SizeRw, SizeRootFs                      *int64    `json:",omitzero"`
	GraphDriver                             *noDriver `json:",omitzero"`
}

type noDriver struct {
	Name string
	Data map[string]string
}

// noNetworkSettings are docker's addresses of a container. A sandbox has none
// that anything outside of it can reach.
type noNetworkSettings struct {
	Ports     map[string][]noPort
	Networks  map[string]noNetwork
	IPAddress string

	Bridge, SandboxID, SandboxKey, EndpointID, Gateway, MacAddress string   `json:",omitzero"`
	GlobalIPv6Address, IPv6Gateway, LinkLocalIPv6Address           string   `json:",omitzero"`
	IPPrefixLen, GlobalIPv6PrefixLen, LinkLocalIPv6PrefixLen       int      `json:",omitzero"`
	HairpinMode                                                    bool     `json:",omitzero"`
	SecondaryIPAddresses, SecondaryIPv6Addresses                   []string `json:",omitzero"`
}

// noConfigFields are those of the Config of a sandbox or image.
type noConfigFields struct {
	AttachStdin, AttachStdout, AttachStderr, StdinOnce, NetworkDisabled bool `json:",omitzero"`
	ArgsEscaped                                                         bool `json:",omitzero"`

	MacAddress  string              `json:",omitzero"`
	Volumes     map[string]struct{} `json:",omitzero"`
	Healthcheck *noCheck            `json:",omitzero"`
	OnBuild     []string            `json:",omitzero"`
	Shell       []string            `json:",omitzero"`
}

type noCheck struct {
	Test                                          []string
	Interval, Timeout, StartPeriod, StartInterval int64
	Retries                                       int
}

// noImageConfigFields are those of the Config of an image.
type noImageConfigFields struct {
	AttachStdin, AttachStdout, AttachStderr, Tty, OpenStdin, StdinOnce, NetworkDisabled bool `json:",omitzero"`

	Hostname, Domainname, Image, MacAddress string `json:",omitzero"`
	StopTimeout                             *int   `json:",omitzero"`
}

// noHostFields are those of HostConfig.
type noHostFields struct {
	Binds, VolumesFrom, Links, DeviceCgroupRules, MaskedPaths, ReadonlyPaths []string            `json:",omitzero"`
	PortBindings                                                             map[string][]noPort `json:",omitzero"`
	Mounts                                                                   []noMount           `json:",omitzero"`
	Devices, DeviceRequests, BlkioWeightDevice                               []map[string]string `json:",omitzero"`
	ConsoleSize                                                              []int               `json:",omitzero"`
	StorageOpt                                                               map[string]string   `json:",omitzero"`

	ContainerIDFile, VolumeDriver, CgroupnsMode, IpcMode, Cgroup, PidMode string `json:",omitzero"`
	UTSMode, UsernsMode, Isolation, CgroupParent                          string `json:",omitzero"`

	Privileged, PublishAllPorts, OomKillDisable                      bool   `json:",omitzero"`
	CpuRealtimePeriod, CpuRealtimeRuntime, CpuCount, CpuPercent      int64  `json:",omitzero"` //nolint:revive // docker's names
	IOMaximumIOps, IOMaximumBandwidth, KernelMemory, KernelMemoryTCP int64  `json:",omitzero"`
	MemorySwappiness                                                 *int64 `json:",omitzero"`

	LogConfig     noLog      `json:",omitzero"`
	RestartPolicy noRestarts `json:",omitzero"`
}

type noLog struct {
	Type   string
	Config map[string]string
}

type noRestarts struct {
	Name              string
	MaximumRetryCount int
}

// noImageFields are those of an image.
type noImageFields struct {
	Parent, DockerVersion, OsVersion, Container string         `json:",omitzero"`
	VirtualSize                                 int64          `json:",omitzero"`
	GraphDriver                                 *noDriver      `json:",omitzero"`
	Metadata                                    noMetadata     `json:",omitzero"`
	Descriptor                                  *noDescriptor  `json:",omitzero"`
	Manifests                                   []noDescriptor `json:",omitzero"`
}

type noDescriptor struct {
	MediaType, Digest string
	Size              int64
}

type noMetadata struct{ LastTagTime string }
