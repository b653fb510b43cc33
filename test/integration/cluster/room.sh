#!/bin/bash
# The first process of a room (room.ts): makes the namespaces that it was started in look like a node of its own, says so by
# a file, and stays until it is killed, which ends whatever runs in them.
# Usage: room.sh <folder> <address/prefix>
set -euo pipefail
folder=$1 address=$2

mount --make-rshared / # as systemd makes all of a node's mounts
# The machine's own folders are seen, and what is written to them goes elsewhere.
for path in etc opt var/lib var/log; do
  layer=$folder/layers/${path//\//-}
  mkdir -p "$layer/upper" "$layer/work"
  mount -t overlay overlay -o "lowerdir=/$path,upperdir=$layer/upper,workdir=$layer/work" "/$path"
done
mount -t tmpfs tmpfs /run
# Overlays on overlays are refused, and disks on them are slow.
for name in cni containerd etcd kubelet vmlet vmlet-libvirt; do
  mkdir -p "$folder/lib/$name" "/var/lib/$name"
  mount --bind "$folder/lib/$name" "/var/lib/$name"
done
mkdir -p /opt/cni/bin /etc/cni/net.d /run/lock
cp /usr/lib/cni/* /opt/cni/bin/

ip link set lo up
ip link add node0 type bridge
ip address add "$address" dev node0
ip link set node0 up
ip route add default dev node0

touch "$folder/up"
while :; do
  sleep 3600 &
  wait "$!" # which also takes in the children of those that have died
done
