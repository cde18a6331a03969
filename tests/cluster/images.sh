#!/usr/bin/env bash
# Builds the project's images from its own Dockerfiles on a Debian made by debootstrap, and imports them into a node. The
# S3 server of the store's image is taken out of it, too: DIRECTORY/bin/versitygw.
# usage: images.sh DIRECTORY      nothing is built again while images/ is the same; DIRECTORY/images.json names them
set -euo pipefail
dir=$(realpath -m "${1:?usage: images.sh DIRECTORY}")
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$dir/build
base=localhost/retort-base:bookworm
golang=localhost/retort-golang:local
debian=bookworm

node() { ctr -a "$dir/run/containerd.sock" -n k8s.io "$@"; }
free() { df -h --output=avail "$dir" | tail -1 | tr -d ' '; }

sources=$(cd "$root/images" && find trainer evaluator tensorboard store build.ts -type f -not -path '*__pycache__*' -print0 | sort -z | xargs -0 sha256sum | sha256sum)
if [ -f "$dir/images.json" ] && [ -x "$dir/bin/versitygw" ] && [ "$sources" = "$(cat "$dir/images.sha256" 2>/dev/null)" ]; then
  there=$(node images ls -q)
  for reference in localhost/pause:local $(grep -o 'localhost/[^"]*' "$dir/images.json"); do
    grep -qxF "$reference" <<< "$there" || rm -f "$dir/images.json"
  done
  [ ! -f "$dir/images.json" ] || exit 0
fi
rm -f "$dir/images.json"

# The layer with PyTorch and its CUDA libraries is 6 GB, and buildah has it four times for a moment when it commits it.
needed_GB=26
if [ "$(df --output=avail -BGB "$dir" | tail -1 | tr -dc 0-9)" -lt $needed_GB ]; then
  echo "error: building the images needs $needed_GB GB of disk at $dir, and there are $(free): make room, or set RETORT_CLUSTER_DIR" >&2
  exit 1
fi

# A store of its own, thrown away at the end: the user's buildah, podman and docker are not touched, nor is the disk filled.
unset STORAGE_DRIVER STORAGE_OPTS
export CONTAINERS_STORAGE_CONF=$build/storage.conf BUILDAH_ISOLATION=chroot
cleared() {
  { grep -o " $build/[^ ]*" /proc/mounts || true; } | tac | xargs -r umount -l
  rm -rf "$build/containers" "$build/tmp" "$build/base" "$build/layout"
}
cleared
trap "TMPDIR=/tmp; cleared" EXIT
export TMPDIR=$build/tmp
mkdir -p "$TMPDIR"
printf '[storage]\ndriver = "overlay"\ngraphroot = "%s/containers/store"\nrunroot = "%s/containers/run"\n' "$build" "$build" \
  > "$CONTAINERS_STORAGE_CONF"

# What python:3.11-slim would be: Debian with Python, pip and venv. It comes from where this machine has its packages from.
mirror=
if grep -qx ID=debian /etc/os-release; then
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep '^https\?://' | grep -v security | head -1 || true)
fi
debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates $debian "$build/base" \
  ${mirror:+"$mirror"} > "$dir/logs/debootstrap.log" || { tail -30 "$dir/logs/debootstrap.log" >&2; exit 1; }
rm -rf "$build"/base/var/cache/apt/archives/*.deb "$build"/base/var/lib/apt/lists/*
# Where this machine gets Python's packages, a build gets them too.
if index=$(python3 -m pip config get global.index-url 2>/dev/null || echo "${PIP_INDEX_URL:-}") && [ -n "$index" ]; then
  printf '[global]\nindex-url = %s\n' "$index" > "$build/base/etc/pip.conf"
fi
bundle=/etc/ssl/certs/ca-certificates.crt
[ -n "${SSL_CERT_FILE:-}" ] || [ ! -f $bundle ] || export SSL_CERT_FILE=$bundle

container=$(buildah from scratch)
tar -C "$build/base" -cf - . | tar -C "$(buildah mount "$container")" --numeric-owner -xpf -
buildah umount "$container" > /dev/null
rm -rf "$build/base"
buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --cmd /bin/bash "$container"
buildah commit --quiet --rm "$container" $base > /dev/null

# What golang:1.26 would be: that Debian with this machine's Go, which gets modules from where it gets them here.
container=$(buildah from $base)
buildah copy --quiet "$container" "$(go env GOROOT)" /usr/local/go > /dev/null
buildah config --env "PATH=/usr/local/go/bin:/usr/bin:/bin" --env "GOPROXY=$(go env GOPROXY)" --env "GOSUMDB=$(go env GOSUMDB)" "$container"
buildah commit --quiet --rm "$container" $golang > /dev/null

pause=$(buildah from scratch)
buildah add --quiet "$pause" "$dir/bin/pause" /pause > /dev/null
buildah config --entrypoint '["/pause"]' "$pause"
buildah commit --quiet --rm "$pause" localhost/pause:local > /dev/null
buildah push --quiet localhost/pause:local "oci:$build/layout:localhost/pause:local"

(cd "$root" && npm run --silent images -- --tool buildah --layout "$build/layout" --cpu --store --base trainer=$base \
  --base tensorboard=$base --base store=$golang)
echo "the images are built; $(free) are free"
container=$(buildah from localhost/retort-store:latest)
cp "$(buildah mount "$container")/versitygw" "$dir/bin/versitygw.new"
mv -f "$dir/bin/versitygw.new" "$dir/bin/versitygw" # the old one may be running
buildah umount "$container" > /dev/null
rm -rf "$build/containers" # before the import, so that its gigabytes and those of the node are not there at once
tar -C "$build/layout" --remove-files -cf - oci-layout index.json blobs | node images import - > /dev/null
# The kubelet finds an image by its digest only under that name.
for reference in $(grep -o 'localhost/[^"]*' "$root/.cache/images.json"); do
  node images tag --force "${reference%@*}:latest" "$reference" > /dev/null
done
# Unpacked, the layers are not needed as archives: they go with the next collection of garbage.
node content prune references > /dev/null
cp "$root/.cache/images.json" "$dir/images.json"
echo "$sources" > "$dir/images.sha256"
echo "the images are in the node; $(free) are free"
