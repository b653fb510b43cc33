//go:build tools

// Package tools pins the Go programs that the tests use.
package tools

// With it come critest, which is a test of the same module and cannot be imported, and ginkgo, which runs it.
import _ "sigs.k8s.io/cri-tools/cmd/crictl"
