#!/usr/bin/env bash
# Builds the host cluster's programs from their Go modules (versions and checksums: build/*/go.mod and go.sum) into a cache outside the
# work tree, once for each state of the inputs, and links them into .run/bin.
# usage: build.sh [kubernetes|etcd|etcd35|coredns|kwok|helm|kind|conformance|tools]...
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# A recipe runs in its module's folder and leaves programs in the folder $1. Programs learn their version, and the Kubernetes version that
# they are made for, from the linker.

recipe_kubernetes() {
  local c=k8s.io/kubernetes/cmd
  compile "$1" "$(kubernetes_version)" $c/kube-apiserver $c/kube-controller-manager $c/kube-scheduler $c/kubelet $c/kube-proxy $c/kubectl \
    k8s.io/kubernetes/test/images/agnhost
}

recipe_conformance() {
  compile "$1" "" github.com/onsi/ginkgo/v2/ginkgo
  go test -c -ldflags "-s -w $(kubernetes_version)" -o "$1/e2e.test" k8s.io/kubernetes/test/e2e
}

recipe_etcd() {
  compile "$1" "" go.etcd.io/etcd/server/v3
  mv "$1/server" "$1/etcd"
}

recipe_etcd35() {
  compile "$1" "" go.etcd.io/etcd/server/v3
  mv "$1/server" "$1/etcd35"
}

recipe_coredns() { compile "$1" "" github.com/coredns/coredns; }

recipe_kind() { compile "$1" "" sigs.k8s.io/kind; }

recipe_kwok() {
  local stages
  compile "$1" "" sigs.k8s.io/kwok/cmd/kwok
  # What simulated nodes and pods do, as kwok's own authors describe it.
  stages=$(go list -m -f '{{.Dir}}' sigs.k8s.io/kwok)/kustomize/stage
  awk 'FNR == 1 {print "---"} {print}' "$stages"/node/{fast,heartbeat-with-lease}/node-*.yaml "$stages"/pod/fast/pod-*.yaml >"$1/kwok-stages.yaml"
}

recipe_helm() {
  local minor flags package
  minor=$(version k8s.io/client-go)
  minor=${minor#v0.}
  flags="-X helm.sh/helm/v3/internal/version.version=$(version helm.sh/helm/v3)"
  for package in chartutil lint/rules; do
    flags="$flags -X helm.sh/helm/v3/pkg/$package.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/$package.k8sVersionMinor=${minor%%.*}"
  done
  compile "$1" "$flags" helm.sh/helm/v3/cmd/helm
}

recipe_tools() {
  compile "$1" "" .
  mv "$1/tools" "$1/hosttool"
}

kubernetes_version() {
  local v minor
  v=$(version k8s.io/kubernetes)
  minor=${v#v1.}
  echo "-X k8s.io/component-base/version.gitVersion=$v -X k8s.io/client-go/pkg/version.gitVersion=$v" \
    "-X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=${minor%%.*}"
}

version() { go list -m -f '{{.Version}}' "$1"; }

# compile FOLDER LINKER-FLAGS PACKAGE...
compile() {
  local to=$1 flags=$2
  shift 2
  go build -ldflags "-s -w $flags" -o "$to/" "$@"
}

source_dir() { if [ "$1" = tools ]; then echo "$HOST_DIR/tools"; else echo "$HOST_DIR/build/$1"; fi; }

build() {
  local tool=$1 hash out tmp
  declare -f "recipe_$tool" >/dev/null || die "build.sh: unknown tool '$tool' (known: kubernetes etcd etcd35 coredns kwok helm kind conformance tools)"
  cd "$(source_dir "$tool")"
  hash=$( (cat -- *.go go.*; declare -f "recipe_$tool" compile kubernetes_version; go version) | git hash-object --stdin | cut -c1-12)
  out=$CACHE/$tool-$hash
  if [ ! -d "$out" ]; then
    mkdir -p "$CACHE"
    tmp=$(mktemp -d "$CACHE/.building-$tool.XXXXXX")
    # shellcheck disable=SC2064
    trap "rm -rf '$tmp'" EXIT
    "recipe_$tool" "$tmp"
    # Another checkout may have been faster; its result is as good.
    mv -T "$tmp" "$out" 2>/dev/null || [ -d "$out" ] || mv "$tmp" "$out"
    rm -rf "$tmp"
    trap - EXIT
  fi
  mkdir -p "$RUN/bin"
  ln -sf "$out"/* "$RUN/bin/"
  printf '%s\n' "$out" >"$RUN/bin/.$tool"
}

have go || die "the Go toolchain is missing: install Go 1.26 or newer (https://go.dev/dl/)"
export CGO_ENABLED=0 GOFLAGS='-mod=readonly -buildvcs=false'
for tool in "$@"; do build "$tool"; done
