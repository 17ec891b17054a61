//go:build tools

// Package tools pins etcd, the store of the host cluster.
package tools

import _ "go.etcd.io/etcd/server/v3"
