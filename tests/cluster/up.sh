#!/usr/bin/env bash
# Brings up a single-node Kubernetes and an S3 server from Debian's packages and the Go module proxy alone. Root on Linux.
# usage: up.sh DIRECTORY     state, binaries and kubeconfig (admin.conf) go there; minutes the first time, seconds after
set -euo pipefail
KUBERNETES=1.34.2 STAGING=0.34.2 VERSITYGW=1.8.0
dir=$(realpath -m "${1:?usage: up.sh DIRECTORY}")
node=retort-node

packages() {
  local missing=() name
  for name in containerd runc etcd-server containernetworking-plugins buildah debootstrap conntrack socat iptables; do
    dpkg -s "$name" >/dev/null 2>&1 || missing+=("$name")
  done
  [ ${#missing[@]} -eq 0 ] || { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; }
}

# kubernetes' own go.mod points its k8s.io modules at ./staging, which no module proxy has: they are published apart.
binaries() {
  export GOFLAGS=-mod=mod CGO_ENABLED=0
  mkdir -p "$dir/bin" "$dir/build"
  if [ ! -x "$dir/bin/kubelet" ]; then
    local source version
    source=$(go mod download -json "k8s.io/kubernetes@v$KUBERNETES" | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p')
    sed -e 's#^module .*#module cluster#' -e "s#^\(\s*k8s.io/[a-z-]*\) v0.0.0#\1 v$STAGING#" -e '/=> \.\/staging/d' \
      "$source" > "$dir/build/go.mod"
    version=k8s.io/component-base/version
    (cd "$dir/build" && go get "k8s.io/kubernetes@v$KUBERNETES" && go build -trimpath -o "$dir/bin/" \
      -ldflags "-s -w -X $version.gitVersion=v$KUBERNETES -X $version.gitMajor=1 -X $version.gitMinor=34" \
      k8s.io/kubernetes/cmd/{kube-apiserver,kube-controller-manager,kube-scheduler,kubelet})
  fi
  [ -x "$dir/bin/versitygw" ] || GOBIN=$dir/bin go install -trimpath "github.com/versity/versitygw/cmd/versitygw@v$VERSITYGW"
}

certificates() {
  [ ! -f "$dir/pki/done" ] || return 0
  cd "$dir/pki"
  openssl genrsa -out sa.key 2048 2>/dev/null
  openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 365 -subj /CN=kube-ca 2>/dev/null
  local names=DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:$node,IP:127.0.0.1,IP:10.96.0.1
  certificate() {
    openssl req -newkey rsa:2048 -nodes -keyout "$1.key" -out "$1.csr" -subj "$2" 2>/dev/null
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -out "$1.crt" -days 365 \
      -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=clientAuth,serverAuth\n' "$names") 2>/dev/null
  }
  certificate apiserver /CN=kube-apiserver
  certificate admin /O=system:masters/CN=admin
  certificate controllers /CN=system:kube-controller-manager
  certificate scheduler /CN=system:kube-scheduler
  certificate kubelet "/O=system:nodes/CN=system:node:$node"
  local user
  for user in admin controllers scheduler kubelet; do
    config() { kubectl config --kubeconfig="$dir/$user.conf" "$@" >/dev/null; }
    config set-cluster retort --server=https://127.0.0.1:6443 --certificate-authority=ca.crt --embed-certs=true
    config set-credentials $user --client-certificate=$user.crt --client-key=$user.key --embed-certs=true
    config set-context retort --cluster=retort --user=$user
    config use-context retort
  done
  touch done
}

configuration() {
  cat > "$dir/containerd.toml" <<EOF
version = 2
root = "$dir/containerd"
state = "$dir/run/containerd"
[grpc]
  address = "$dir/run/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:local"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$dir/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
EOF
  cat > "$dir/cni/10-bridge.conflist" <<EOF
{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "retort0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$dir/run/addresses", "ranges": [[{"subnet": "10.244.0.0/24"}]],
            "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
EOF
  cat > "$dir/kubelet.yaml" <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $dir/pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $dir/pki/kubelet.crt
tlsPrivateKeyFile: $dir/pki/kubelet.key
containerRuntimeEndpoint: unix://$dir/run/containerd.sock
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
clusterDNS: [10.96.0.10]
oomScoreAdj: 0
enforceNodeAllocatable: []
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
EOF
}

# start NAME COMMAND…: in the background, unless it runs already; its id and its log are kept under its name.
start() {
  local name=$1
  shift
  if [ -f "$dir/run/$name.pid" ] && kill -0 "$(cat "$dir/run/$name.pid")" 2>/dev/null; then return; fi
  setsid nohup "$@" >> "$dir/logs/$name.log" 2>&1 < /dev/null &
  echo $! > "$dir/run/$name.pid"
}

wait_for() { # SECONDS COMMAND…
  local left=$1
  shift
  until "$@" >/dev/null 2>&1; do
    [ $((left -= 1)) -gt 0 ] || { echo "gave up waiting for: $*" >&2; exit 1; }
    sleep 1
  done
}

start_kubelet() {
  start kubelet "$dir/bin/kubelet" --config="$dir/kubelet.yaml" --kubeconfig="$dir/kubelet.conf" \
    --hostname-override=$node --root-dir="$dir/kubelet"
}

start_store() {
  mkdir -p "$dir/store/retort"
  ROOT_ACCESS_KEY=retort ROOT_SECRET_KEY=retort-secret \
    start store "$dir/bin/versitygw" --port 0.0.0.0:7070 posix "$dir/store"
}

start_cluster() {
  local bin=$dir/bin
  grep -q " $node\$" /etc/hosts || echo "127.0.0.1 $node" >> /etc/hosts # the API server calls the kubelet by this name
  export KUBECONFIG=$dir/admin.conf
  start etcd etcd --data-dir "$dir/etcd" --listen-client-urls http://127.0.0.1:2379 \
    --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380 --unsafe-no-fsync
  start containerd containerd -c "$dir/containerd.toml"
  start apiserver "$bin/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 --bind-address=127.0.0.1 --secure-port=6443 \
    --advertise-address=127.0.0.1 --endpoint-reconciler-type=none --service-cluster-ip-range=10.96.0.0/16 \
    --tls-cert-file="$dir/pki/apiserver.crt" --tls-private-key-file="$dir/pki/apiserver.key" \
    --client-ca-file="$dir/pki/ca.crt" --service-account-key-file="$dir/pki/sa.key" \
    --service-account-signing-key-file="$dir/pki/sa.key" --service-account-issuer=https://kubernetes.default.svc \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
    --kubelet-client-certificate="$dir/pki/admin.crt" --kubelet-client-key="$dir/pki/admin.key" --allow-privileged
  wait_for 120 kubectl get --raw /readyz # started sooner, the controllers lose a race with the first roles
  wait_for 30 kubectl get clusterrole system:kube-controller-manager
  start controllers "$bin/kube-controller-manager" --kubeconfig="$dir/controllers.conf" --leader-elect=false \
    --service-account-private-key-file="$dir/pki/sa.key" --root-ca-file="$dir/pki/ca.crt" \
    --use-service-account-credentials
  start scheduler "$bin/kube-scheduler" --kubeconfig="$dir/scheduler.conf" --leader-elect=false
  start_kubelet
  pause_image
  wait_for 120 sh -c "kubectl get node $node | grep -q ' Ready'"
}

# The process that holds a pod's network and, where asked to, is its process 1.
pause_image() {
  local socket=$dir/run/containerd.sock
  if ctr -a "$socket" -n k8s.io images ls -q | grep -q localhost/pause:local; then return; fi
  cd "$dir/build"
  printf '#include <signal.h>\n#include <sys/wait.h>\n#include <unistd.h>\nstatic void reap(int n) { while (waitpid(-1, 0, WNOHANG) > 0); }\nint main(void) { signal(SIGCHLD, reap); for (;;) pause(); }\n' > pause.c
  gcc -static -Os -o pause pause.c
  printf 'FROM scratch\nCOPY pause /pause\nENTRYPOINT ["/pause"]\n' > Pausefile
  export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=overlay
  buildah build -q -t localhost/pause:local -f Pausefile . > /dev/null
  rm -f pause.tar
  buildah push -q localhost/pause:local "oci-archive:$dir/build/pause.tar:localhost/pause:local"
  ctr -a "$socket" -n k8s.io images import pause.tar > /dev/null
}

mkdir -p "$dir"/{bin,build,pki,etcd,run,kubelet,cni,logs,store}
case ${2:-all} in
kubelet) start_kubelet ;;
store) start_store ;;
all)
  packages
  binaries
  certificates
  configuration
  start_store
  start_cluster
  ;;
esac
