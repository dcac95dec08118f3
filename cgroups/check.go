// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package cgroups
