#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# apparmor: profiles of deploy/apparmor are taken, granted, applied, and deny.
run() {
	inside root /work-cpc/test/vm/apparmor.sh restrict
	inside user /work-cpc/test/vm/apparmor.sh restricted
	inside root /work-cpc/test/vm/apparmor.sh confine
	inside user /work-cpc/test/vm/apparmor.sh denied
	inside root /work-cpc/test/vm/apparmor.sh load
	inside root /work-cpc/test/vm/apparmor.sh sandbox
	inside user /work-cpc/test/vm/apparmor.sh sandbox
	inside root /work-cpc/test/vm/apparmor.sh after
}
