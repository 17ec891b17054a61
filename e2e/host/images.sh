# shellcheck shell=bash disable=SC2034
# The images that a host without a registry needs, written from programs built here. Source it after lib.sh.
# Names are those of the public images that they stand in for, so that the same manifests run on a cluster that pulls.

BUSYBOX_IMAGE=docker.io/library/busybox:1
AGNHOST_IMAGE=registry.k8s.io/e2e-test-images/agnhost:2.63.0

# Debian's busybox-static installs this; a dynamic busybox would not run in an image of its own.
busybox_static() {
  local file
  for file in /bin/busybox /usr/bin/busybox; do
    if [ -x "$file" ] && ! ldd "$file" >/dev/null 2>&1; then echo "$file" && return; fi
  done
}

images_build() {
  local applet shell=() busybox tool=$RUN/bin/hosttool
  busybox=$(busybox_static)
  mkdir -p "$RUN/images"
  for applet in $("$busybox" --list); do
    if [ "$applet" != busybox ]; then shell+=(--link "bin/$applet=busybox" --link "usr/bin/$applet=/bin/busybox"); fi
  done
  shell+=(--file "bin/busybox=$busybox")
  # The pause process of a pod: ends at once when told to, and reaps orphans when the pod shares its process namespace.
  "$tool" image --out "$RUN/images/pause.tar" --ref localhost/pause:1 --file "bin/busybox=$busybox" --entrypoint /bin/busybox --entrypoint sh \
    --entrypoint -c --entrypoint 'trap "exit 0" TERM INT; while :; do sleep 2147483647 & wait; done' --user 65534:65534
  "$tool" image --out "$RUN/images/coredns.tar" --ref localhost/coredns:1 --file "coredns=$(readlink -f "$RUN/bin/coredns")" --entrypoint /coredns
  "$tool" image --out "$RUN/images/busybox.tar" --ref "$BUSYBOX_IMAGE" --ref registry.k8s.io/e2e-test-images/busybox:1.37.0-1 "${shell[@]}" --cmd sh
  "$tool" image --out "$RUN/images/agnhost.tar" --ref "$AGNHOST_IMAGE" "${shell[@]}" --file "agnhost=$(readlink -f "$RUN/bin/agnhost")" \
    --entrypoint /agnhost --cmd pause
}

# The program's own image: the binary, the shared libraries it needs, nothing else.
# usage: image_tenantry BINARY NAME
image_tenantry() {
  mkdir -p "$RUN/images"
  "$RUN/bin/hosttool" image --out "$RUN/images/tenantry.tar" --ref "$2" --file "usr/local/bin/tenantry=$1" \
    --entrypoint /usr/local/bin/tenantry --user 65532:65532
}

# The suite's pods want tools of a whole distribution (curl, dig, ip): with debootstrap the images get a small Debian below.
images_conformance() {
  local root=$CACHE/conformance-rootfs agnhost
  [ "$(host_kind)" = local ] || return 0
  if is_root && have apt-get && [ ! -d "$root" ]; then
    have debootstrap || apt-get install -y -qq --no-install-recommends debootstrap
    rm -rf "$root.tmp"
    debootstrap --variant=minbase --include=curl,bind9-dnsutils,iproute2,iptables,netcat-openbsd,socat bookworm "$root.tmp"
    mv "$root.tmp" "$root"
  fi
  [ -d "$root" ] || return 0
  agnhost=$(readlink -f "$RUN/bin/agnhost")
  "$RUN/bin/hosttool" image --out "$RUN/images/agnhost.tar" --ref "$AGNHOST_IMAGE" --root "$root" --file "agnhost=$agnhost" --entrypoint /agnhost --cmd pause
  "$RUN/bin/hosttool" image --out "$RUN/images/dns.tar" --ref registry.k8s.io/e2e-test-images/glibc-dns-testing:2.0.0 --root "$root" --cmd sleep --cmd 3600
  "$RUN/bin/hosttool" image --out "$RUN/images/web.tar" --ref registry.k8s.io/e2e-test-images/nginx:1.15-4 --ref registry.k8s.io/e2e-test-images/nginx:1.27-0 \
    --file "bin/busybox=$(busybox_static)" --file "www/index.html=$HOST_DIR/manifests/web.html" --entrypoint /bin/busybox --entrypoint httpd --entrypoint -f --entrypoint -p --entrypoint 80 --entrypoint -h --entrypoint /www
  local name
  for name in agnhost dns web; do "$HOST_DIR/load-image" "$RUN/images/$name.tar"; done
}
