//go:build tools

// Package tools pins kind, which makes a host cluster inside Docker.
package tools

import _ "sigs.k8s.io/kind"
