// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/modetest"
)

// keysDockerfile has an instruction of each kind, and the flags that say what
// makes two steps the same.
const keysDockerfile = `FROM scratch AS one
ARG V=1
ENV A=1 B=$V
LABEL a=b
COPY data /data/
COPY --chmod=u=rwX,go=rX --chown=1:2 data/f /f
COPY --link --exclude=*.x data linked/
COPY <<here <<there /
this is $A
here
that
there
ADD --chmod=755 data/f /add
WORKDIR /w
USER 7:8
WORKDIR made
RUN ["/bin/true", "x"]
RUN --network=none echo $A
RUN --mount=type=bind,source=data,target=/m --mount=type=cache,target=/c,uid=1 --mount=type=tmpfs,target=/t,size=1k cat /m/f
RUN --mount=type=secret,id=s,env=S --mount=type=ssh <<script
#!/bin/sh
true
script
SHELL ["/bin/ash", "-c"]
CMD echo hello
ENTRYPOINT ["/init"]
EXPOSE 80 81/udp
VOLUME /v
STOPSIGNAL SIGINT
HEALTHCHECK --interval=5s CMD true
MAINTAINER somebody
ONBUILD RUN true
FROM scratch
COPY --from=one /data /copied
RUN --mount=from=one,target=/one true
`

// wantKeys are the cache keys of keysDockerfile, a mode and a key a line. They
// may only be changed with the version in stepKey: what an older cpc built is not
// found any more then.
//
//go:embed testdata/keys
var wantKeys string

type nullRunner struct{}

func (nullRunner) Run(context.Context, Process) error { return nil }

// TestKeys: an unchanged Dockerfile that an older cpc built comes from the cache.
func TestKeys(t *testing.T) {
	modetest.Some(t, []idmap.Mode{idmap.Root, idmap.Mapped}, func(t *testing.T, m idmap.Mapping) {
		b := newBed(t, m)
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, "Dockerfile"), []byte(keysDockerfile), 0o644)
		writeFile(t, filepath.Join(dir, "data/f"), []byte("F\n"), 0o644)
		writeFile(t, filepath.Join(dir, "data/g.x"), []byte("G\n"), 0o755)
		o := b.options(dir, io.Discard)
		o.Runner, o.Platform, o.Args["SOURCE_DATE_EPOCH"] = nullRunner{}, v1.Platform{OS: "linux", Architecture: "amd64"}, "1000000000"
		o.Used = new([]digest.Digest)
		if _, err := Build(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		for _, key := range *o.Used {
			fmt.Fprintf(&got, "%s %s\n", m.Mode, key)
		}
		var want strings.Builder
		for line := range strings.Lines(wantKeys) {
			if strings.HasPrefix(line, string(m.Mode)+" ") {
				want.WriteString(line)
			}
		}
		if got.String() != want.String() {
			t.Errorf("got:\n%s\nwant:\n%s", got.String(), want.String())
		}
	})
}
