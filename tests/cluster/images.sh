#!/usr/bin/env bash
# Builds the project's images from its own Dockerfiles on a Debian made by debootstrap, and imports them into a node.
# usage: images.sh DIRECTORY CONTAINERD_SOCKET      nothing is built again while images/ is the same
set -euo pipefail
dir=$(realpath -m "${1:?}") socket=${2:?}
root=$(cd "$(dirname "$0")/../.." && pwd)
export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=overlay
base=localhost/retort-base:bookworm

images() { ctr -a "$socket" -n k8s.io images "$@"; }

if ! buildah images -q $base > /dev/null 2>&1; then
  # What python:3.11-slim would be: Debian with Python, pip and venv, and the certificates of this machine's proxy, if any.
  debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates bookworm "$dir/build/base" > /dev/null
  tar -C "$dir/build/base" -cf "$dir/build/base.tar" .
  container=$(buildah from scratch)
  buildah add -q "$container" "$dir/build/base.tar" / > /dev/null
  buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --cmd /bin/bash "$container"
  buildah commit -q "$container" $base > /dev/null
  buildah rm "$container" > /dev/null
  rm -rf "$dir/build/base" "$dir/build/base.tar"
fi

sources=$(cd "$root/images" && find trainer evaluator tensorboard -type f -not -path '*__pycache__*' | sort | xargs sha256sum | sha256sum)
if [ "$sources" != "$(cat "$dir/build/images.sha256" 2>/dev/null)" ] || [ ! -f "$root/.cache/images.json" ]; then
  cd "$root"
  npm run --silent images -- --tool buildah --archive "$dir/build/images" --cpu --base trainer=$base --base tensorboard=$base
  for archive in "$dir"/build/images/*.tar; do
    images import "$archive" > /dev/null
    rm "$archive"
  done
  # The kubelet finds an image by its digest only under that name.
  for reference in $(grep -o 'localhost/[^"]*' .cache/images.json); do
    images tag --force "${reference%@*}:latest" "$reference" > /dev/null
  done
  echo "$sources" > "$dir/build/images.sha256"
fi
