#!/bin/bash
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# doctor: cpc doctor and cpc setup, for a user who lacks everything.
run() {
	inside root /work-cpc/test/vm/doctor.sh root
	inside user /work-cpc/test/vm/doctor.sh user
	inside root /work-cpc/test/vm/doctor.sh withdraw
	inside norange /work-cpc/test/vm/doctor.sh lacks
	inside root /work-cpc/test/vm/doctor.sh setup
	inside norange /work-cpc/test/vm/doctor.sh has
	inside root /work-cpc/test/vm/doctor.sh undo
}
