#!/usr/bin/env bash
# Stops what up.sh started, and nothing else; images and binaries are kept. usage: down.sh DIRECTORY [NAME]
set -euo pipefail
dir=$(realpath -m "${1:?usage: down.sh DIRECTORY [NAME]}")

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
socket=$dir/run/containerd.sock
for task in $(ctr -a "$socket" -n k8s.io tasks ls -q 2>/dev/null || true); do
  ctr -a "$socket" -n k8s.io tasks kill -s SIGKILL "$task" 2>/dev/null || true
done
for name in scheduler controllers apiserver containerd etcd store; do stop "$name"; done
for shim in $(pgrep -f "containerd-shim.*$dir/run/containerd.sock" || true); do kill "$shim" 2>/dev/null || true; done
grep -o " $dir/[^ ]*" /proc/mounts | tac | xargs -r umount 2>/dev/null || true
