//go:build tools

// Package tools pins the older etcd that the store is tested with.
package tools

import _ "go.etcd.io/etcd/server/v3"
