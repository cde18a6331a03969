#!/usr/bin/env bash
# Prints what a person needs to know of a cluster on which a test has failed: pods, events, and the ends of all logs.
# usage: logs.sh DIRECTORY
set -uo pipefail
dir=$(realpath -m "${1:?usage: logs.sh DIRECTORY}")
kubectl() { timeout 20 "$dir/bin/kubectl" --kubeconfig "$dir/admin.conf" "$@" 2>&1; }

df -h "$dir"
free -m
echo "=== pods"
kubectl get pods --all-namespaces -o wide
echo "=== events"
kubectl get events --all-namespaces --sort-by=.lastTimestamp | tail -30
find "$dir/logs" -name '*.log' -type f | sort | while read -r log; do
  printf '=== end of %s\n' "$log"
  tail -n "$(case $log in */pods/* | */kubelet.log | */containerd.log) echo 25 ;; *) echo 5 ;; esac)" "$log" | cut -c1-400
done
