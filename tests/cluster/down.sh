#!/usr/bin/env bash
# Stops what up.sh started, and nothing else, and clears the cluster's and the store's state; binaries, images and logs stay.
# usage: down.sh DIRECTORY [kubelet|store]     one process, to be started again with its state
set -euo pipefail
dir=$(realpath -m "${1:?usage: down.sh DIRECTORY [kubelet|store]}")
[ -d "$dir/run" ] || exit 0

stop() {
  local file=$dir/run/$1.pid id
  [ -f "$file" ] || return 0
  id=$(cat "$file")
  kill "$id" 2>/dev/null || true
  for _ in $(seq 100); do kill -0 "$id" 2>/dev/null || break; sleep 0.1; done
  kill -9 "$id" 2>/dev/null || true
  rm -f "$file"
}

if [ $# -gt 1 ]; then stop "$2"; exit; fi
stop kubelet
node() { ctr -a "$dir/run/containerd.sock" -n k8s.io "$@" 2>/dev/null || true; }
for task in $(node tasks ls -q); do node tasks kill -s SIGKILL "$task" > /dev/null; done
for _ in $(seq 50); do [ -n "$(node tasks ls | grep RUNNING)" ] || break; sleep 0.1; done
for task in $(node tasks ls -q); do node tasks rm "$task" > /dev/null; done
for container in $(node containers ls -q); do node containers rm "$container" > /dev/null; done
for name in dns scheduler controllers apiserver containerd etcd store; do stop "$name"; done
for shim in $(pgrep -f "containerd-shim.*$dir/run/containerd.sock" || true); do kill -9 "$shim" 2>/dev/null || true; done
grep -o " $dir/[^ ]*" /proc/mounts | tac | xargs -r umount -l 2>/dev/null || true
ip link del retort0 2>/dev/null || true
ip address del 10.244.255.1/32 dev lo 2>/dev/null || true
rm -rf "$dir/etcd" "$dir/kubelet" "$dir/run" "$dir/store"
