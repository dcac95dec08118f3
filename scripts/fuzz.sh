#!/bin/sh
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# fuzz.sh [TIME]: runs every fuzz target of the module for TIME (10s) each.
# go test takes one target of one package at a time.
set -eu
cd "$(dirname "$0")/.."
time=${1:-10s}
found=$(grep -r --include='*_test.go' -o '^func Fuzz[A-Za-z0-9_]*' . | sort)
if [ -z "$found" ]; then
	echo "fuzz: no targets" >&2
	exit 1
fi
printf '%s\n' "$found" | while IFS=: read -r file match; do
	target=${match#func }
	echo "fuzz: ${file%/*} $target for $time"
	scripts/go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "${file%/*}" </dev/null
done
