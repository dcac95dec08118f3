#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# prepare.sh: runs inside the VM as root, before the tests: installs the
# programs and the base image's tar, so that they are not read by 9p each time.
set -eu
install -m 0755 /work-cpc/bin/cpc /work-cpc/bin/cpc-runtime /work-cpc/bin/cpc-scan /usr/local/bin/
install -m 0644 /work-cpc/.cache/vm/base.tar /var/tmp/base.tar
