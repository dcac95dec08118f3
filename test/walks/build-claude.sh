#!/bin/sh
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# build-claude.sh: builds the image of Claude Code, from a private mirror of npm's registry
# where there is one.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=scripts/cpc.sh
. "$root/scripts/cpc.sh"

"$root/scripts/build-sandbox.sh" --if-changed
granted=$(private_grants registry.npmjs.org:443)
# shellcheck disable=SC2086 # words
"$cpc" build --egress @default $granted --host-ca -f "$root/build/image/Dockerfile.claude" -t claude-pocket-console/claude:latest "$root/build/image"
