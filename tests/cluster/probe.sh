#!/usr/bin/env bash
# Says what this machine lacks to run containers, a line each, and ends with 1 if that is anything. usage: probe.sh DIRECTORY
set -uo pipefail
dir=$(realpath -m "${1:?usage: probe.sh DIRECTORY}")
missing=0
lacks() {
  echo "$*"
  missing=1
}

[ "$(uname -s)" = Linux ] || lacks "Linux: this is $(uname -s)"
if [ "$(id -u)" != 0 ]; then
  lacks "root: containers need mounts, namespaces and control groups"
  exit 1 # the rest can only be tried as root
fi

unshare --mount --pid --net --ipc --uts --fork true 2>/dev/null || lacks "namespaces: the kernel does not let root make them"

mkdir -p "$dir"
trial=$(mktemp -d "$dir/probe-XXXX") || exit 1
mkdir "$trial"/{lower,upper,work,merged}
if mount -t overlay overlay -o "lowerdir=$trial/lower,upperdir=$trial/upper,workdir=$trial/work" "$trial/merged" 2>/dev/null; then
  umount "$trial/merged"
else
  lacks "overlay mounts below $dir"
fi
rm -rf "$trial"

groups=/sys/fs/cgroup
if [ -f $groups/cgroup.controllers ]; then
  for controller in cpu memory pids; do
    grep -qw $controller $groups/cgroup.controllers || lacks "control group $controller"
  done
  places=("$groups/retort-probe")
else
  places=("$groups/memory/retort-probe" "$groups/cpu/retort-probe" "$groups/pids/retort-probe")
fi
for place in "${places[@]}"; do
  if mkdir "$place" 2>/dev/null; then rmdir "$place"; else lacks "control groups: ${place%/*} cannot be written"; fi
done

bridge=retort-probe
if ! command -v ip >/dev/null; then
  apt-get update -qq >/dev/null 2>&1
  apt-get install -y -qq --no-install-recommends iproute2 >/dev/null 2>&1 || lacks "ip, of Debian's package iproute2"
fi
if command -v ip >/dev/null; then
  if ip link add $bridge type bridge 2>/dev/null; then ip link del $bridge; else lacks "network bridges"; fi
  if ip link add $bridge type veth peer name ${bridge}2 2>/dev/null; then ip link del $bridge; else lacks "pairs of network interfaces (veth)"; fi
fi
exit $missing
