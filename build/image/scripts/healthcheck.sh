#!/bin/sh
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# Run inside the sandbox: healthy while programs start and the home directory
# takes writes.
set -eu
probe=$(mktemp "${HOME:-/home/sandbox}/.health.XXXXXX")
rm -f "$probe"
