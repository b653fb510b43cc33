//go:build tools

// Package tools pins the Go programs that the tests use.
package tools

import _ "sigs.k8s.io/cri-tools/cmd/crictl"
