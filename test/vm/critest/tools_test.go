// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package critest_test pins critest and what it is built of; see
// test/vm/groups/more-critest.sh.
package critest_test

import (
	_ "github.com/onsi/ginkgo/v2"
	_ "github.com/onsi/gomega"
	_ "sigs.k8s.io/cri-tools/pkg/benchmark"
	_ "sigs.k8s.io/cri-tools/pkg/validate"
)
