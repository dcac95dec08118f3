#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# fields: what a bundle asks of AppArmor, cgroup v2, the network and criu.
run() { inside root /work-cpc/test/vm/fields.sh; }
