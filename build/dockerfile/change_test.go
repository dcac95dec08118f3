// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"slices"
	"strings"
	"testing"

	"github.com/claude-pocket-console/cpc/rootfs"
)

func TestChange(t *testing.T) {
	var base rootfs.Config
	base.Config.Env = []string{"PATH=/bin"}
	base.Config.Cmd = []string{"/bin/bash"}
	got, err := Change(base, []string{
		"ENV A=1 B=$PATH", `ENTRYPOINT ["/init"]`, "CMD echo hello", "USER 1000", "WORKDIR /srv", "WORKDIR www", "EXPOSE 80/tcp",
		"label a=b", "VOLUME /data", "STOPSIGNAL SIGINT",
	})
	if err != nil {
		t.Fatal(err)
	}
	c := got.Config
	if !slices.Equal(c.Env, []string{"PATH=/bin", "A=1", "B=/bin"}) || !slices.Equal(c.Cmd, []string{"/bin/sh", "-c", "echo hello"}) ||
		!slices.Equal(c.Entrypoint, []string{"/init"}) || c.User != "1000" || c.WorkingDir != "/srv/www" || c.Labels["a"] != "b" || c.StopSignal != "SIGINT" {
		t.Errorf("%+v", c)
	}
	if len(c.ExposedPorts) != 1 || len(c.Volumes) != 1 || len(base.Config.Env) != 1 {
		t.Errorf("%+v of %+v", c, base.Config)
	}
	for line, says := range map[string]string{
		"RUN true": "more than the configuration", "COPY a b": "more than", "FROM x": "", "nonsense": "", "ENV A=1\nENV B=2": "single instruction",
		"EXPOSE x": "not a port", "": "", "ARG X": "more than",
	} {
		if _, err := Change(base, []string{line}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", line, err)
		}
	}
}
