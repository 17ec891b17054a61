#!/usr/bin/env bash
# A host cluster that is already there: KUBECONFIG names it. Nothing of it is started or stopped here.
# usage: existing.sh check|up|down|alive
set -euo pipefail
. "$(dirname "$0")/lib.sh"

check() {
  [ -n "${KUBECONFIG:-}" ] || die "HOST=existing needs KUBECONFIG (the cluster to use, its current context)"
  [ -r "$KUBECONFIG" ] || die "KUBECONFIG=$KUBECONFIG: cannot be read (HOST=existing takes one file)"
  [ -n "${TENANTRY_IMAGE:-}" ] || die "HOST=existing needs TENANTRY_IMAGE: the image of this checkout in a registry that the cluster pulls from (docker build -t NAME . && docker push NAME)"
}

up() {
  local nodes="" name address
  "$RUN/bin/kubectl" --kubeconfig "$KUBECONFIG" config view --raw --minify --flatten >"$RUN/host.kubeconfig.tmp"
  chmod 600 "$RUN/host.kubeconfig.tmp"
  mv "$RUN/host.kubeconfig.tmp" "$RUN/host.kubeconfig"
  "$RUN/bin/kubectl" --kubeconfig "$RUN/host.kubeconfig" get --raw /readyz >/dev/null || die "the API server of KUBECONFIG=$KUBECONFIG does not answer"
  while read -r name address; do
    nodes="$nodes${nodes:+, }{\"name\": \"$name\", \"address\": \"$address\"}"
  done < <("$RUN/bin/kubectl" --kubeconfig "$RUN/host.kubeconfig" get nodes -o 'jsonpath={range .items[*]}{.metadata.name} {.status.addresses[?(@.type=="InternalIP")].address}{"\n"}{end}')
  cat >"$RUN/host.json" <<E
{
  "kind": "existing",
  "name": "$INSTANCE",
  "kubeconfig": "$RUN/host.kubeconfig",
  "pods": true, "exec": true, "logs": true, "network": true, "loadImage": false,
  "nodes": [$nodes]
}
E
}

case ${1:-} in
check) check ;;
up) up ;;
down) say "the existing cluster stays as it is" ;;
alive) "$RUN/bin/kubectl" --kubeconfig "$RUN/host.kubeconfig" get --raw /readyz >/dev/null 2>&1 ;;
*) die "usage: existing.sh check|up|down|alive" ;;
esac
