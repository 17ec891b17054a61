#!/usr/bin/env bash
# A host cluster for those who are not root or not on Linux: a stock control plane on loopback ports, and nodes that kwok simulates.
# Pods are scheduled and shown Running; no container runs, so there is no exec, no logs and no pod network.
# usage: simulated.sh check|up|down|alive
set -euo pipefail
. "$(dirname "$0")/lib.sh"

SIM=$RUN/sim
DAEMONS="kwok kube-scheduler kube-controller-manager kube-apiserver etcd"

check() {
  # HOST_PORT_BASE names the first of six ports; without it a free block is looked for.
  local said
  [ -n "${HOST_PORT_BASE:-}" ] || return 0
  said=$("$RUN/bin/hosttool" ports --base "$HOST_PORT_BASE" --count 6 --exact 2>&1) || die "${said#hosttool ports: } (HOST_PORT_BASE=$HOST_PORT_BASE)"
}

kubectl() { "$RUN/bin/kubectl" --kubeconfig "$RUN/host.kubeconfig" "$@"; }

start() {
  local name=$1 pid
  shift
  nohup "$RUN/bin/$name" "$@" >"$SIM/$name.log" 2>&1 </dev/null &
  pid=$!
  echo "$pid $(proc_started "$pid")" >"$SIM/$name.pid"
}

ready() {
  local name=$1
  shift
  if ! proc_alive "$SIM/$name.pid"; then
    tail -n 15 "$SIM/$name.log" >&2
    die "$name stopped; the end of its log is above"
  fi
  quiet "$@"
}

nodes_ready() { [ "$(kubectl get nodes --no-headers | grep -c ' Ready ')" = 2 ]; }

up() {
  local base pki=$SIM/pki node nodes=""
  mkdir -p "$SIM"
  base=$("$RUN/bin/hosttool" ports --base "${HOST_PORT_BASE:-21000}" --count 6)
  "$RUN/bin/hosttool" pki --dir "$pki" --name tenantry-host --server "https://127.0.0.1:$base" --sans "localhost,kubernetes,kubernetes.default,kubernetes.default.svc,127.0.0.1,10.208.0.1"
  install -m 600 "$pki/admin.kubeconfig" "$RUN/host.kubeconfig"
  say "start etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kwok on 127.0.0.1:$base-$((base + 5))"
  start etcd --data-dir "$SIM/etcd" --unsafe-no-fsync --listen-client-urls "http://127.0.0.1:$((base + 1))" --advertise-client-urls "http://127.0.0.1:$((base + 1))" \
    --listen-peer-urls "http://127.0.0.1:$((base + 2))" --log-level warn
  start kube-apiserver --etcd-servers="http://127.0.0.1:$((base + 1))" --bind-address=127.0.0.1 --secure-port="$base" \
    --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" --client-ca-file="$pki/ca.crt" \
    --service-account-key-file="$pki/sa.pub" --service-account-signing-key-file="$pki/sa.key" --service-account-issuer=https://kubernetes.default.svc.cluster.local \
    --service-cluster-ip-range=10.208.0.0/16 --authorization-mode=Node,RBAC --allow-privileged --cert-dir="$SIM/apiserver" \
    --requestheader-client-ca-file="$pki/front-proxy-ca.crt" --requestheader-allowed-names=front-proxy-client --requestheader-username-headers=X-Remote-User \
    --requestheader-group-headers=X-Remote-Group --requestheader-extra-headers-prefix=X-Remote-Extra- \
    --proxy-client-cert-file="$pki/front-proxy-client.crt" --proxy-client-key-file="$pki/front-proxy-client.key"
  wait_for 90 "the API server" ready kube-apiserver kubectl get --raw /readyz
  start kube-controller-manager --kubeconfig="$pki/controller-manager.kubeconfig" --root-ca-file="$pki/ca.crt" --service-account-private-key-file="$pki/sa.key" \
    --use-service-account-credentials --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key" \
    --bind-address=127.0.0.1 --secure-port=$((base + 3)) --leader-elect=false
  start kube-scheduler --kubeconfig="$pki/scheduler.kubeconfig" --bind-address=127.0.0.1 --secure-port=$((base + 4)) --leader-elect=false
  start kwok --kubeconfig="$RUN/host.kubeconfig" --manage-all-nodes --node-lease-duration-seconds=40 --config="$RUN/bin/kwok-stages.yaml" --server-address="127.0.0.1:$((base + 5))"
  kubectl apply -f "$HOST_DIR/manifests/simulated-nodes.yaml" >/dev/null
  wait_for 60 "the simulated nodes Ready (see $SIM/kwok.log)" ready kwok nodes_ready
  wait_for 60 "the controller manager's first work" ready kube-controller-manager kubectl get serviceaccount default
  for node in $(kubectl get nodes -o 'jsonpath={.items[*].metadata.name}'); do nodes="$nodes${nodes:+, }{\"name\": \"$node\", \"address\": \"127.0.0.1\"}"; done
  cat >"$RUN/host.json" <<E
{
  "kind": "simulated",
  "name": "$INSTANCE",
  "kubeconfig": "$RUN/host.kubeconfig",
  "pods": false, "exec": false, "logs": false, "network": false, "loadImage": false,
  "machineAddress": "127.0.0.1",
  "nodes": [$nodes]
}
E
  say "simulated nodes: pods are scheduled and shown Running, but no container runs: no exec, no logs, no network between pods"
}

down() {
  local name pid
  for name in $DAEMONS; do
    proc_alive "$SIM/$name.pid" || continue
    pid=$(cut -d' ' -f1 "$SIM/$name.pid")
    say "stop $name"
    kill "$pid"
    for _ in $(seq 100); do
      proc_alive "$SIM/$name.pid" || break
      sleep 0.1
    done
    if proc_alive "$SIM/$name.pid"; then kill -KILL "$pid"; fi
  done
}

case ${1:-} in
check) check ;;
up) up ;;
down) down ;;
alive) proc_alive "$SIM/kube-apiserver.pid" && kubectl get --raw /readyz >/dev/null 2>&1 ;;
*) die "usage: simulated.sh check|up|down|alive" ;;
esac
