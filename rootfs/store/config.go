// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Config is an image configuration: the published one, and the fields that
// docker adds to its "config". Both survive reading and writing.
type Config struct {
	v1.Image
	// Docker holds the fields of "config" that docker has and OCI lacks.
	Docker DockerConfig
}

// DockerConfig are the fields that docker adds to "config".
type DockerConfig struct {
	Healthcheck *Healthcheck
	Shell       []string
	OnBuild     []string
	// Other holds every further field as it was read, by name.
	Other map[string]json.RawMessage
}

// Healthcheck is docker's: Test is {"NONE"}, {"CMD", …} or {"CMD-SHELL", …};
// times are in nanoseconds in JSON, and zero stands for the default.
type Healthcheck struct {
	Test          []string      `json:",omitempty"`
	Interval      time.Duration `json:",omitempty"`
	Timeout       time.Duration `json:",omitempty"`
	StartPeriod   time.Duration `json:",omitempty"`
	StartInterval time.Duration `json:",omitempty"`
	Retries       int           `json:",omitempty"`
}

// fields returns "config" as JSON by field name, with docker's fields.
func (c Config) fields() (map[string]json.RawMessage, error) {
	all := make(map[string]json.RawMessage, len(c.Docker.Other))
	maps.Copy(all, c.Docker.Other)
	add := func(v any) error {
		data, err := json.Marshal(v)
		if err != nil {
			return err
		}
		return json.Unmarshal(data, &all)
	}
	if err := add(c.Config); err != nil {
		return nil, err
	}
	return all, add(struct {
		Healthcheck *Healthcheck `json:",omitempty"`
		Shell       []string     `json:",omitempty"`
		OnBuild     []string     `json:",omitempty"`
	}{c.Docker.Healthcheck, c.Docker.Shell, c.Docker.OnBuild})
}

// MarshalJSON writes the published form with docker's fields in "config".
func (c Config) MarshalJSON() ([]byte, error) {
	config, err := c.fields()
	if err != nil {
		return nil, err
	}
	return json.Marshal(struct {
		v1.Image
		Config map[string]json.RawMessage `json:"config"`
	}{c.Image, config})
}

// UnmarshalJSON reads the published form, with docker's fields if there are.
func (c *Config) UnmarshalJSON(data []byte) error {
	var img v1.Image
	if err := json.Unmarshal(data, &img); err != nil {
		return fmt.Errorf("image configuration: %w", err)
	}
	var extra struct {
		Config struct {
			Healthcheck *Healthcheck
			Shell       []string
			OnBuild     []string
		} `json:"config"`
	}
	if err := json.Unmarshal(data, &extra); err != nil {
		return fmt.Errorf("image configuration: %w", err)
	}
	var raw struct {
		Config map[string]json.RawMessage `json:"config"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return fmt.Errorf("image configuration: %w", err)
	}
	known := []string{
		"User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels",
		"StopSignal", "ArgsEscaped", "Healthcheck", "Shell", "OnBuild",
	}
	for _, name := range known {
		delete(raw.Config, name)
	}
	if len(raw.Config) == 0 {
		raw.Config = nil
	}
	d := extra.Config
	*c = Config{Image: img, Docker: DockerConfig{d.Healthcheck, d.Shell, d.OnBuild, raw.Config}}
	return nil
}
