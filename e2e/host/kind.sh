#!/usr/bin/env bash
# A host cluster in Docker, by kind.
# usage: kind.sh check|up|down|alive
set -euo pipefail
. "$(dirname "$0")/lib.sh"

kubectl() { "$RUN/bin/kubectl" --kubeconfig "$RUN/host.kubeconfig" "$@"; }

check() {
  docker_answers || die "HOST=kind needs Docker, and 'docker info' does not answer (HOST=local needs none)"
}

exists() { "$RUN/bin/kind" get clusters 2>/dev/null | grep -qx "$INSTANCE"; }

up() {
  local nodes="" name address
  exists || step "create the kind cluster $INSTANCE" "$RUN/bin/kind" create cluster --name "$INSTANCE" --kubeconfig "$RUN/host.kubeconfig" --wait 120s
  while read -r name address; do
    nodes="$nodes${nodes:+, }{\"name\": \"$name\", \"address\": \"$address\"}"
  done < <(kubectl get nodes -o 'jsonpath={range .items[*]}{.metadata.name} {.status.addresses[?(@.type=="InternalIP")].address}{"\n"}{end}')
  cat >"$RUN/host.json" <<E
{
  "kind": "kind",
  "name": "$INSTANCE",
  "kubeconfig": "$RUN/host.kubeconfig",
  "pods": true, "exec": true, "logs": true, "network": true, "loadImage": true,
  "nodes": [$nodes]
}
E
}

down() {
  [ -x "$RUN/bin/kind" ] || return 0
  if exists; then step "delete the kind cluster $INSTANCE" "$RUN/bin/kind" delete cluster --name "$INSTANCE" --kubeconfig "$RUN/host.kubeconfig"; fi
}

case ${1:-} in
check) check ;;
up) up ;;
down) down ;;
alive) exists && kubectl get --raw /readyz >/dev/null 2>&1 ;;
*) die "usage: kind.sh check|up|down|alive" ;;
esac
