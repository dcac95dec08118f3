// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"fmt"
	"testing"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// The kernel refuses a weight of a group that is idle.
func TestUpdateIdle(t *testing.T) {
	one, zero, shares := int64(1), int64(0), uint64(200)
	weight := cgroups.ConvertCPUSharesToCgroupV2Value(shares)
	for name, c := range map[string]struct {
		had     *int64
		cpu     *specs.LinuxCPU
		unified map[string]string
		idle    *int64
		weight  uint64
		left    map[string]string
	}{
		"both":         {cpu: &specs.LinuxCPU{Idle: &one, Shares: &shares}, idle: &one},
		"idle":         {cpu: &specs.LinuxCPU{Idle: &one}, idle: &one},
		"not idle":     {had: &one, cpu: &specs.LinuxCPU{Idle: &zero, Shares: &shares}, idle: &zero, weight: weight},
		"weight":       {cpu: &specs.LinuxCPU{Shares: &shares}, weight: weight},
		"then weight":  {had: &one, cpu: &specs.LinuxCPU{Shares: &shares}, idle: &zero, weight: weight},
		"neither":      {had: &one, cpu: &specs.LinuxCPU{}, idle: &one, weight: 5},
		"unified both": {unified: map[string]string{"cpu.idle": "1", "cpu.weight": "8"}, idle: &one, left: map[string]string{"cpu.idle": "1"}},
		"unified then": {had: &one, unified: map[string]string{"cpu.weight": "8"}, idle: &zero, weight: 5, left: map[string]string{"cpu.weight": "8"}},
	} {
		l := Limits{Resources: specs.LinuxResources{CPU: c.cpu, Unified: c.unified}}
		to := cgroups.Resources{CPUIdle: c.had, CpuWeight: 5}
		if err := l.apply(&to, &configs.Config{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got := fmt.Sprint(number(to.CPUIdle), to.CpuWeight, to.Unified)
		if want := fmt.Sprint(number(c.idle), c.weight, c.left); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	l := Limits{Resources: specs.LinuxResources{Unified: map[string]string{"cpu.idle": "yes"}}}
	if err := l.apply(&cgroups.Resources{}, &configs.Config{}); err == nil {
		t.Error("idle yes: no error")
	}
}

func number(n *int64) any {
	if n == nil {
		return nil
	}
	return *n
}
