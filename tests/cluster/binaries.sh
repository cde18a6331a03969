#!/usr/bin/env bash
# Gets what the cluster is made of: Debian's packages, and Kubernetes and CoreDNS from the Go module proxy.
# usage: binaries.sh DIRECTORY     binaries go to DIRECTORY/bin: some minutes the first time, nothing to do after
set -euo pipefail
KUBERNETES=1.34.2 STAGING=0.34.2 COREDNS=1.13.2
dir=$(realpath -m "${1:?usage: binaries.sh DIRECTORY}")
here=$(cd "$(dirname "$0")" && pwd)

packages() {
  local missing=() name
  for name in containerd runc etcd-server containernetworking-plugins buildah debootstrap iproute2 openssl procps; do
    dpkg -s "$name" >/dev/null 2>&1 || missing+=("$name")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# Kubernetes' own go.mod points its k8s.io modules at ./staging, which no module proxy has: they are published apart.
kubernetes() {
  local source version=k8s.io/component-base/version
  source=$(go mod download -json "k8s.io/kubernetes@v$KUBERNETES" | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p')
  sed -e 's#^module .*#module cluster#' -e "s#^\(\s*k8s.io/[a-z-]*\) v0[.]0[.]0\(\s.*\)\?\$#\1 v$STAGING#" -e '/=> \.\/staging/d' \
    "$source" > "$work/go.mod"
  cd "$work"
  go get "k8s.io/kubernetes@v$KUBERNETES"
  go build -trimpath -o "$work/bin/" \
    -ldflags "-s -w -X $version.gitVersion=v$KUBERNETES -X $version.gitMajor=1 -X $version.gitMinor=34" \
    "${commands[@]}"
}

# A module of its own: CoreDNS' versions of what it shares with Kubernetes are not Kubernetes'.
dns() {
  mkdir "$work/dns"
  cp "$here/dns.go" "$work/dns/"
  cd "$work/dns"
  go mod init dns
  go get "github.com/coredns/coredns@v$COREDNS"
  go build -trimpath -ldflags "-s -w" -o "$work/bin/dns" .
}

packages
mkdir -p "$dir/bin" "$dir/build"
commands=()
for name in kube-apiserver kube-controller-manager kube-scheduler kubelet kubectl; do
  [ -x "$dir/bin/$name" ] || commands+=("k8s.io/kubernetes/cmd/$name")
done
lacks() { [ ! -x "$dir/bin/$1" ]; }
if [ ${#commands[@]} -gt 0 ] || lacks pause || lacks dns; then
  # The module and build caches take gigabytes, and are of no use once the binaries are there.
  if [ "$(df --output=avail -BGB "$dir" | tail -1 | tr -dc 0-9)" -lt 7 ]; then
    echo "error: building Kubernetes needs 7 GB of disk at $dir: make room, or set RETORT_CLUSTER_DIR" >&2
    exit 1
  fi
  command -v go > /dev/null || { echo "error: Kubernetes is built from its Go module: install Go first" >&2; exit 1; }
  work=$(mktemp -d "$dir/build/go-XXXX")
  trap 'rm -rf "$work"' EXIT
  export GOPATH=$work/path GOMODCACHE=$work/modules GOCACHE=$work/cache GOTMPDIR=$work GOBIN=$work/bin
  export GOFLAGS="-mod=mod -modcacherw" CGO_ENABLED=0
  mkdir -p "$work/bin"
  go build -trimpath -ldflags "-s -w" -o "$work/bin/pause" "$here/pause.go"
  [ ${#commands[@]} -eq 0 ] || (kubernetes)
  if lacks dns; then (dns); fi
  echo "the caches of Go took $(du -sh "$work" | cut -f1); $(df -h --output=avail "$dir" | tail -1 | tr -d ' ') are free"
  mv -f "$work"/bin/* "$dir/bin/"
fi
