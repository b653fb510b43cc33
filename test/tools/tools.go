//go:build tools

// Package tools pins the Go programs that the tests use.
package tools

import (
	_ "sigs.k8s.io/cri-tools/cmd/crictl"

	// What critest is made of, which is a test of the same module and cannot be imported, and ginkgo, which runs it.
	_ "github.com/onsi/ginkgo/v2/ginkgo"
	_ "sigs.k8s.io/cri-tools/pkg/benchmark"
	_ "sigs.k8s.io/cri-tools/pkg/validate"
)
