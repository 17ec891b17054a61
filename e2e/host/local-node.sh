#!/usr/bin/env bash
# The first process of the local node's namespaces (pid, mount, network, uts, ipc): makes a file system view in which everything that
# the node writes lies in .run/node, then only waits. When it is killed the kernel ends every process of the node and drops its mounts,
# interfaces, routes and packet filter rules with the namespaces: nothing has to be remembered for that.
# usage (by local.sh, through unshare): local-node.sh NODEDIR HOSTNAME BINDIR...
set -euo pipefail
node=$1 name=$2
shift 2

# The pid and start time by which the machine knows this process; read before the node gets a /proc of its own.
read -r stat </proc/self/stat
pid=${stat%% *}
# shellcheck disable=SC2086
set -- "$@" -- ${stat##*) }
bins=()
while [ "$1" != -- ]; do bins+=("$1"); shift; done
shift
printf '%s %s\n' "$pid" "${20}" >"$node/init.tmp"
mv "$node/init.tmp" "$node/init"

mount --make-rprivate /
resolv=$(readlink -f /etc/resolv.conf || echo /etc/resolv.conf)

# A private /run: sockets, locks and network namespaces of the node. The rest of the node lies under it, so that no folder of the
# machine that is covered below is needed any more.
mkdir -p "$node"/{etc,log,lib,tmp}
chmod 1777 "$node/tmp"
mount -t tmpfs -o mode=755 tenantry-run /mnt
mkdir -p /mnt/node /mnt/bin /mnt/lock
mount --rbind "$node" /mnt/node
for bin in "${bins[@]}"; do
  to=/mnt/bin/$(basename "${bin%-*}")
  mkdir -p "$to"
  mount --bind "$bin" "$to"
done
mount -n --move /mnt /run
mount --bind /run/node/log /var/log
mount --bind /run/node/lib /var/lib
mount --bind /run/node/tmp /tmp
case $resolv in
/run/*) mkdir -p "$(dirname "$resolv")" && cp /run/node/etc/resolv.conf "$resolv" ;;
*) mount --bind /run/node/etc/resolv.conf "$resolv" ;;
esac
mount -t proc proc /proc

# The kubelet wants these machine-wide settings; it finds its values here instead of changing the machine's.
sysctl() {
  [ -e "/proc/sys/$1" ] || return 0
  mkdir -p "/run/sysctl/$(dirname "$1")"
  printf '%s\n' "$2" >"/run/sysctl/$1"
  mount --bind "/run/sysctl/$1" "/proc/sys/$1"
}
sysctl vm/overcommit_memory 1
sysctl vm/panic_on_oom 0
sysctl kernel/panic 10
sysctl kernel/panic_on_oops 1
sysctl kernel/keys/root_maxkeys 1000000
sysctl kernel/keys/root_maxbytes 25000000

# Volumes with mount propagation need shared mounts, among the node's own processes only.
mount --make-rshared /
hostname "$name"
ip link set lo up
touch /run/node/prepared

cd /
trap 'exit 0' TERM INT
while :; do
  sleep infinity &
  wait $! || true
done
