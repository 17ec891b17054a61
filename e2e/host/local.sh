#!/usr/bin/env bash
# The local host cluster: stock Kubernetes with real pods, in namespaces of its own on this machine, no Docker.
# usage: local.sh check|up|down|alive
set -euo pipefail
. "$(dirname "$0")/lib.sh"

NODE=$RUN/node
NODE_NAME=node-1

# Programs that the node runs and the Debian packages that have them.
PROGRAMS="containerd:containerd runc:runc iptables:iptables conntrack:conntrack socat:socat ip:iproute2 ctr:containerd
  nsenter:util-linux unshare:util-linux mount:mount hostname:hostname"

missing_packages() {
  local pair packages=""
  for pair in $PROGRAMS; do have "${pair%%:*}" || packages="$packages ${pair#*:}"; done
  [ -x /usr/lib/cni/ptp ] || packages="$packages containernetworking-plugins"
  [ -n "$(busybox_static)" ] || packages="$packages busybox-static"
  tr ' ' '\n' <<<"$packages" | sort -u | xargs
}

check() {
  is_root || die "the local host cluster with real pods needs root (without root: simulated nodes, which HOST=local chooses by itself)"
  local packages
  packages=$(missing_packages)
  [ -z "$packages" ] || have apt-get ||
    die "not installed: $packages (Debian's names); install them, this machine has no apt-get to do it"
  [ -n "$(cgroup_roots)" ] || die "no cgroup file system with a memory controller under /sys/fs/cgroup: pods cannot run here"
  unshare --fork --pid --mount --net --uts --ipc true 2>/dev/null || die "this root may not create namespaces (unshare failed): run outside of this sandbox, or with its --privileged"
  [ -n "$(free_slot)" ] || die_no_slot
}

# --- cgroups -------------------------------------------------------------------------------------------------------------------------

# Every hierarchy in which the kubelet and runc make groups: one on cgroup v2, one for each controller on v1.
cgroup_roots() {
  if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
    grep -qw memory /sys/fs/cgroup/cgroup.controllers && echo /sys/fs/cgroup
  elif [ -d /sys/fs/cgroup/memory ]; then
    awk '$3 ~ /^cgroup2?$/ && $2 ~ "^/sys/fs/cgroup/" {print $2}' /proc/mounts | sort -u
  fi
}

cgroups_make() {
  local root file
  for root in $(cgroup_roots); do
    mkdir -p "$root/$INSTANCE"
    # v1: a new cpuset is empty, and nothing can run in it.
    for file in cpuset.cpus cpuset.mems; do
      if [ -f "$root/$file" ] && [ ! -f /sys/fs/cgroup/cgroup.controllers ]; then cat "$root/$file" >"$root/$INSTANCE/$file"; fi
    done
    # v2: hand the controllers down.
    if [ "$root" = /sys/fs/cgroup ]; then
      for file in cpuset cpu io memory pids hugetlb; do echo "+$file" >"$root/cgroup.subtree_control" || true; done 2>/dev/null
      grep -qw memory "$root/$INSTANCE/cgroup.controllers" ||
        die "cgroup v2: the controllers cannot be handed down from $root (in a container: its processes must sit in a group below the root)"
    fi
  done
}

cgroups_remove() {
  local root group
  for root in $(cgroup_roots); do
    [ -d "$root/$INSTANCE" ] || continue
    for _ in $(seq 50); do
      find "$root/$INSTANCE" -depth -type d | while read -r group; do rmdir "$group" 2>/dev/null || true; done
      [ -d "$root/$INSTANCE" ] || break
      sleep 0.1
    done
    [ ! -d "$root/$INSTANCE" ] || say "warning: control group $root/$INSTANCE still has processes"
  done
}

# --- network: a pair of links joins the node's network namespace to the machine's ------------------------------------------------------

slot_net() { echo "10.200.$1"; }
slot_pods() { echo "10.201.$(($1 * 16)).0/20"; }
slot_services() { echo "10.$((208 + $1)).0.0/16"; }

slot_is_free() {
  ! ip link show "tenantry$1" >/dev/null 2>&1 &&
    [ -z "$(ip -4 route show root "$(slot_net "$1").0/24"; ip -4 route show root "$(slot_pods "$1")"; ip -4 route show root "$(slot_services "$1")")" ]
}

die_no_slot() {
  die "no free network slot ${HOST_SLOT:-among 0 to 15}: a link tenantry${HOST_SLOT:-N} exists, or there are routes into 10.200.0.0-10.223.255.255 (ip link; ip route)"
}

free_slot() {
  local slot
  for slot in ${HOST_SLOT:-$(seq 0 15)}; do
    if ! have ip || slot_is_free "$slot"; then echo "$slot" && return; fi
  done
}

# The name of the link is what reserves a slot: the kernel lets only one be made.
network_up() {
  local init=$1 slot net
  for slot in ${HOST_SLOT:-$(seq 0 15)}; do
    slot_is_free "$slot" || continue
    ip link add "tenantry$slot" type veth peer name eth0 netns "$init" 2>/dev/null || continue
    net=$(slot_net "$slot")
    cat >"$NODE/net.env" <<E
SLOT=$slot
LINK=tenantry$slot
MACHINE_IP=$net.1
NODE_IP=$net.2
PODS=$(slot_pods "$slot")
SERVICES=$(slot_services "$slot")
API_IP=10.$((208 + slot)).0.1
DNS_IP=10.$((208 + slot)).0.10
E
    # shellcheck disable=SC1091
    . "$NODE/net.env"
    # shellcheck disable=SC2153
    ip addr add "$MACHINE_IP/30" dev "$LINK"
    ip link set "$LINK" up
    in_node "ip addr add $NODE_IP/30 dev eth0 && ip link set eth0 up && ip route add default via $MACHINE_IP && echo 1 > /proc/sys/net/ipv4/ip_forward"
    ip route add "$PODS" via "$NODE_IP" dev "$LINK"
    ip route add "$SERVICES" via "$NODE_IP" dev "$LINK"
    return
  done
  die_no_slot
}

# Lets the node reach what the machine reaches (registries, name servers). HOST_EGRESS=no leaves the machine's packet filter alone.
FORWARDING=/run/tenantry-set-ip-forward
egress_rules() {
  iptables -w -t nat "$1" POSTROUTING -s "$NODE_IP/32" ! -o "$LINK" -m comment --comment "$INSTANCE" -j MASQUERADE
  iptables -w "$1" FORWARD -i "$LINK" -m comment --comment "$INSTANCE" -j ACCEPT
  iptables -w "$1" FORWARD -o "$LINK" -m comment --comment "$INSTANCE" -j ACCEPT
}

egress_up() {
  [ "${HOST_EGRESS:-yes}" = yes ] && [ -n "$(ip -4 route show default)" ] || return 0
  if [ "$(cat /proc/sys/net/ipv4/ip_forward)" = 0 ]; then
    touch "$FORWARDING"
    echo 1 >/proc/sys/net/ipv4/ip_forward
  fi
  egress_rules -I
}

egress_down() {
  if have iptables && iptables -w -t nat -S POSTROUTING 2>/dev/null | grep -q -- "--comment $INSTANCE "; then
    while egress_rules -D; do :; done 2>/dev/null
  fi
  # The last host of this machine turns forwarding off again if a host turned it on.
  if [ -f "$FORWARDING" ] && ! ip -o link show | grep -q ': tenantry[0-9]'; then
    echo 0 >/proc/sys/net/ipv4/ip_forward
    rm -f "$FORWARDING"
  fi
}

resolver() {
  # A resolver on the machine's loopback address is out of the node's reach; systemd-resolved says what lies behind it.
  local file=/etc/resolv.conf
  if grep -qE '^nameserver 127\.' "$file" && [ -f /run/systemd/resolve/resolv.conf ]; then file=/run/systemd/resolve/resolv.conf; fi
  grep -E '^(nameserver|search|options)' "$file" 2>/dev/null | grep -vE '^nameserver (127\.|::1)' || true
}

# --- processes -----------------------------------------------------------------------------------------------------------------------

init_pid() { cut -d' ' -f1 "$NODE/init"; }

# Runs a line of shell inside the node.
in_node() { "$HOST_DIR/in-node" bash -c "$1"; }

# start NAME command...: a daemon of the node, a child of its first process, with its output in .run/node/log.
start() {
  local name=$1
  shift
  in_node "ulimit -n 1048576 2>/dev/null || ulimit -n \$(ulimit -Hn); setsid ${*@Q} >/run/node/log/$name.log 2>&1 </dev/null & echo \$! >/run/node/$name.pid"
}

# Fails with the end of the log when a daemon is gone.
running() {
  in_node "kill -0 \$(cat /run/node/$1.pid)" 2>/dev/null && return
  tail -n 15 "$NODE/log/$1.log" >&2
  die "$1 stopped; the end of its log ($NODE/log/$1.log) is above"
}

ready() {
  local name=$1
  running "$name"
  shift
  quiet "$@"
}

kubectl() { "$RUN/bin/kubectl" --kubeconfig "$RUN/host.kubeconfig" "$@"; }

node_up() {
  mkdir -p "$NODE"/{etc,log,lib,tmp}
  resolver >"$NODE/etc/resolv.conf"
  local tool bins=()
  for tool in etcd kubernetes tools; do bins+=("$(cat "$RUN/bin/.$tool")"); done
  setsid unshare --fork --pid --mount --net --uts --ipc --propagation private \
    "$HOST_DIR/local-node.sh" "$NODE" "$NODE_NAME" "${bins[@]}" >"$NODE/log/init.log" 2>&1 </dev/null &
  wait_for 20 "the node's namespaces (see $NODE/log/init.log)" test -f "$NODE/prepared"
  network_up "$(init_pid)"
  egress_up
  cgroups_make
}

control_plane_up() {
  local pki=/run/node/pki
  "$RUN/bin/hosttool" pki --dir "$NODE/pki" --name "tenantry-host" --server "https://$NODE_IP:6443" --node "$NODE_NAME" \
    --sans "localhost,kubernetes,kubernetes.default,kubernetes.default.svc,kubernetes.default.svc.cluster.local,127.0.0.1,$API_IP,$NODE_IP"
  install -m 600 "$NODE/pki/admin.kubeconfig" "$RUN/host.kubeconfig"

  # The data is thrown away with the node, so etcd need not wait for the disk.
  start etcd etcd --data-dir /var/lib/etcd --unsafe-no-fsync --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --log-level warn
  start kube-apiserver kube-apiserver --etcd-servers=http://127.0.0.1:2379 --bind-address=0.0.0.0 --secure-port=6443 --advertise-address="$NODE_IP" \
    --tls-cert-file=$pki/apiserver.crt --tls-private-key-file=$pki/apiserver.key --client-ca-file=$pki/ca.crt \
    --service-account-key-file=$pki/sa.pub --service-account-signing-key-file=$pki/sa.key --service-account-issuer=https://kubernetes.default.svc.cluster.local \
    --service-cluster-ip-range="$SERVICES" --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged \
    --kubelet-client-certificate=$pki/apiserver-kubelet-client.crt --kubelet-client-key=$pki/apiserver-kubelet-client.key \
    --kubelet-preferred-address-types=InternalIP --requestheader-client-ca-file=$pki/front-proxy-ca.crt --requestheader-allowed-names=front-proxy-client \
    --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group --requestheader-extra-headers-prefix=X-Remote-Extra- \
    --proxy-client-cert-file=$pki/front-proxy-client.crt --proxy-client-key-file=$pki/front-proxy-client.key --cert-dir=/run/node/apiserver \
    --enable-aggregator-routing=true
  wait_for 90 "the API server" ready kube-apiserver kubectl get --raw /readyz
  start kube-controller-manager kube-controller-manager --kubeconfig=$pki/controller-manager.kubeconfig --root-ca-file=$pki/ca.crt \
    --service-account-private-key-file=$pki/sa.key --use-service-account-credentials --cluster-signing-cert-file=$pki/ca.crt \
    --cluster-signing-key-file=$pki/ca.key --bind-address=127.0.0.1 --leader-elect=false --enable-hostpath-provisioner
  start kube-scheduler kube-scheduler --kubeconfig=$pki/scheduler.kubeconfig --bind-address=127.0.0.1 --leader-elect=false
}

# Root without this capability (some virtual machines and containers) may not lower an oom score, and every sandbox would fail.
lacks_sys_resource() { [ $((0x$(awk '/^CapEff/{print $2}' /proc/self/status) >> 24 & 1)) = 0 ]; }

# The overlay file system does not lie on every file system (an overlay, for one).
snapshotter() {
  local dir=$NODE/overlay-try
  mkdir -p "$dir"/{lower,upper,work,merged}
  if unshare --mount sh -c "mount -t overlay -o 'lowerdir=$dir/lower,upperdir=$dir/upper,workdir=$dir/work' overlay '$dir/merged'" 2>/dev/null; then echo overlayfs; else echo native; fi
  rm -rf "$dir"
}

node_configs() {
  cat >"$NODE/etc/containerd.toml" <<E
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = $(if lacks_sys_resource; then echo true; else echo false; fi)
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/run/node/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "$(snapshotter)"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
E
  # Each pod has a link of its own and the node routes between them: no bridge, so no bridge filtering is needed either.
  mkdir -p "$NODE/cni"
  cat >"$NODE/cni/10-pods.conflist" <<E
{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "ptp", "ipMasq": true, "ipam": {"type": "host-local", "dataDir": "/run/cni", "ranges": [[{"subnet": "$PODS"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
E
  cat >"$NODE/etc/kubelet.yaml" <<E
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /$INSTANCE
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: /run/node/pki/ca.crt}}
authorization: {mode: Webhook}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
clusterDNS: [$DNS_IP]
clusterDomain: cluster.local
failSwapOn: false
maxPods: 500
podPidsLimit: -1
# The images were loaded and cannot be pulled again: never collect them.
imageGCHighThresholdPercent: 100
# A nearly full disk is the machine's matter: evicting the pods would not free it.
evictionHard: {memory.available: "100Mi", nodefs.available: "200Mi", imagefs.available: "200Mi"}
resolvConf: /run/node/etc/resolv.conf
volumePluginDir: /var/lib/kubelet/volumeplugins
registerWithTaints: []
serializeImagePulls: false
E
  cat >"$NODE/etc/kube-proxy.yaml" <<E
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: /run/node/pki/kube-proxy.kubeconfig}
clusterCIDR: $PODS
mode: iptables
# Connection tracking limits are the machine's; leave them.
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
E
}

images_load() {
  wait_for 30 "containerd" ready containerd in_node "ctr version"
  local tar
  for tar in "$RUN"/images/*.tar; do "$HOST_DIR/load-image" "$tar"; done
}

# The provisioner makes volumes that only root may enter; a real one opens them to the pod. This waits for new ones and opens them.
volumes_up() {
  mkdir -p "$NODE/tmp/hostpath_pv"
  start volumes hosttool volumes --dir /tmp/hostpath_pv
}

kubelet_up() {
  start kubelet kubelet --config=/run/node/etc/kubelet.yaml --kubeconfig=/run/node/pki/kubelet.kubeconfig --root-dir=/var/lib/kubelet \
    --node-ip="$NODE_IP" --hostname-override="$NODE_NAME"
  start kube-proxy kube-proxy --config=/run/node/etc/kube-proxy.yaml --hostname-override="$NODE_NAME"
}

node_ready() { kubectl get node "$NODE_NAME" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' | grep -q True; }
dns_ready() { kubectl -n kube-system get deployment coredns -o 'jsonpath={.status.readyReplicas}' | grep -q 1; }

dns_up() {
  local forward=""
  if grep -q ^nameserver "$NODE/etc/resolv.conf"; then forward="forward . /etc/resolv.conf"; fi
  sed -e "s/@DNS_IP@/$DNS_IP/" -e "s|@FORWARD@|$forward|" "$HOST_DIR/manifests/coredns.yaml" | kubectl apply -f - >/dev/null
  kubectl apply -f "$HOST_DIR/manifests/storage.yaml" >/dev/null
}

up() {
  local packages
  packages=$(missing_packages)
  # shellcheck disable=SC2086
  [ -z "$packages" ] || step "install Debian packages: $packages" sh -c "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages"
  say "start the node's namespaces"
  node_up
  # shellcheck disable=SC1091
  . "$NODE/net.env"
  node_configs
  say "start containerd and load images; start etcd, kube-apiserver, kube-controller-manager, kube-scheduler on $NODE_IP"
  start containerd containerd --config /run/node/etc/containerd.toml
  images_load &
  local loading=$!
  control_plane_up
  say "start kubelet, kube-proxy and cluster DNS"
  wait "$loading" || die "the images could not be loaded into containerd"
  volumes_up
  kubelet_up
  dns_up
  say "wait for the node and its DNS"
  wait_for 60 "node $NODE_NAME Ready (see $NODE/log/kubelet.log)" ready kubelet node_ready
  wait_for 60 "cluster DNS ready (see $NODE/log/kubelet.log)" ready kubelet dns_ready
  wait_for 60 "the controller manager's first work" ready kube-controller-manager kubectl get serviceaccount default
  running kube-proxy
  running volumes
  cat >"$RUN/host.json" <<E
{
  "kind": "local",
  "name": "$INSTANCE",
  "kubeconfig": "$RUN/host.kubeconfig",
  "pods": true, "exec": true, "logs": true, "network": true, "loadImage": true,
  "machineAddress": "$MACHINE_IP",
  "nodes": [{"name": "$NODE_NAME", "address": "$NODE_IP"}],
  "podRange": "$PODS", "serviceRange": "$SERVICES", "dns": "$DNS_IP"
}
E
}

down() {
  local link=""
  if [ ! -d "$NODE" ]; then return; fi
  if [ -f "$NODE/net.env" ]; then
    # shellcheck disable=SC1091
    . "$NODE/net.env"
    link=$LINK
  fi
  if proc_alive "$NODE/init"; then
    say "stop the node with all its pods"
    kill -KILL "$(init_pid)"
    wait_for 30 "the node's end" init_gone
  fi
  if [ -n "$link" ]; then
    # The link goes with its peer, a moment after the last process of the namespace.
    for _ in $(seq 50); do
      ip link show "$link" >/dev/null 2>&1 || break
      sleep 0.1
    done
    ip link del "$link" 2>/dev/null || true
    egress_down
  fi
  cgroups_remove
}
init_gone() { ! proc_alive "$NODE/init"; }

. "$HOST_DIR/images.sh"
case ${1:-} in
check) check ;;
up) up ;;
down) down ;;
alive) proc_alive "$NODE/init" && kubectl get --raw /readyz >/dev/null 2>&1 ;;
*) die "usage: local.sh check|up|down|alive" ;;
esac
