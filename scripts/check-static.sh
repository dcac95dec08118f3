#!/bin/sh
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# check-static.sh FILE: fails if FILE asks for a dynamic loader or a library.
set -eu
headers=$(readelf --program-headers --dynamic --wide "$1" 2>/dev/null)
case $headers in
*INTERP* | *NEEDED*)
	echo "check-static $1: the program is dynamically linked" >&2
	exit 1
	;;
*LOAD*) ;;
*)
	echo "check-static $1: not an ELF program" >&2
	exit 1
	;;
esac
