#!/usr/bin/env bash
# Builds the host cluster's programs from their Go modules (versions and checksums: build/*/go.mod and go.sum) into a cache outside the
# work tree, once for each state of the inputs, and links them into .run/bin.
# usage: build.sh [kubernetes|etcd|coredns|kwok|helm|kind|conformance|tools]...
set -euo pipefail
. "$(dirname "$0")/lib.sh"

packages() {
  case $1 in
  kubernetes)
    printf 'k8s.io/kubernetes/cmd/%s\n' kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl
    echo k8s.io/kubernetes/test/images/agnhost
    ;;
  etcd) echo go.etcd.io/etcd/server/v3 ;;
  coredns) echo github.com/coredns/coredns ;;
  kwok) echo sigs.k8s.io/kwok/cmd/kwok ;;
  helm) echo helm.sh/helm/v3/cmd/helm ;;
  kind) echo sigs.k8s.io/kind ;;
  conformance) echo github.com/onsi/ginkgo/v2/ginkgo ;;
  tools) echo . ;;
  *) die "build.sh: unknown tool '$1' (known: kubernetes etcd coredns kwok helm kind conformance tools)" ;;
  esac
}

source_dir() { if [ "$1" = tools ]; then echo "$HOST_DIR/tools"; else echo "$HOST_DIR/build/$1"; fi; }

version_flags() {
  local v minor
  v=$(cd "$HOST_DIR/build/kubernetes" && go list -m -f '{{.Version}}' k8s.io/kubernetes)
  minor=${v#v1.}
  printf -- '-s -w'
  printf -- ' -X %s.gitVersion='"$v" k8s.io/component-base/version k8s.io/client-go/pkg/version
  printf -- ' -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=%s' "${minor%%.*}"
}

build() {
  local tool=$1 src hash out tmp
  src=$(source_dir "$tool")
  hash=$( (cd "$src" && cat -- *.go go.* && declare -f packages version_flags build_into && go version) | git hash-object --stdin | cut -c1-12)
  out=$CACHE/$tool-$hash
  if [ ! -d "$out" ]; then
    mkdir -p "$CACHE"
    tmp=$(mktemp -d "$CACHE/.building-$tool.XXXXXX")
    # shellcheck disable=SC2064
    trap "rm -rf '$tmp'" EXIT
    build_into "$tool" "$src" "$tmp"
    mv -T "$tmp" "$out" 2>/dev/null || mv "$tmp" "$out"
    trap - EXIT
  fi
  mkdir -p "$RUN/bin"
  ln -sf "$out"/* "$RUN/bin/"
  printf '%s\n' "$out" >"$RUN/bin/.$tool"
}

build_into() {
  local tool=$1 src=$2 to=$3 flags='-s -w'
  case $tool in kubernetes | conformance) flags=$(version_flags) ;; esac
  cd "$src"
  export CGO_ENABLED=0 GOFLAGS='-mod=readonly -buildvcs=false'
  # shellcheck disable=SC2046
  go build -ldflags "$flags" -o "$to/" $(packages "$tool")
  case $tool in
  etcd) mv "$to/server" "$to/etcd" 2>/dev/null || mv "$to/v3" "$to/etcd" ;;
  conformance) go test -c -ldflags "$flags" -o "$to/e2e.test" k8s.io/kubernetes/test/e2e ;;
  kwok)
    # What simulated nodes and pods do, as kwok's own authors describe it.
    local stages
    stages=$(go list -m -f '{{.Dir}}' sigs.k8s.io/kwok)/kustomize/stage
    awk 'FNR == 1 {print "---"} {print}' "$stages"/node/{fast,heartbeat-with-lease}/node-*.yaml "$stages"/pod/fast/pod-*.yaml >"$to/kwok-stages.yaml"
    ;;
  tools) mv "$to"/tools "$to/hosttool" ;;
  esac
}

have go || die "the Go toolchain is missing: install Go $(awk '/^go /{print $2}' "$HOST_DIR/build/kubernetes/go.mod") or newer (https://go.dev/dl/)"
for tool in "$@"; do build "$tool"; done
