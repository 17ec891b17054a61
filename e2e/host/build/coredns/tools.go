//go:build tools

// Package tools pins CoreDNS, the resolver of the host cluster.
package tools

import _ "github.com/coredns/coredns"
