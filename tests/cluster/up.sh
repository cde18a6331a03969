#!/usr/bin/env bash
# Brings up a single-node Kubernetes from Debian's packages and the Go module proxy alone. Root on Linux.
# usage: up.sh DIRECTORY                     state, binaries and kubeconfig (admin.conf) go there
#        up.sh DIRECTORY kubelet|store       one process of it; the S3 server is one of the images that images.sh builds
set -euo pipefail
dir=$(realpath -m "${1:?usage: up.sh DIRECTORY [kubelet|store]}")
here=$(cd "$(dirname "$0")" && pwd)
node=retort-node
# The node's own address, on its loopback interface: pods and the tests reach the store at it, whatever network there is.
address=10.244.255.1
[ ${#dir} -le 80 ] || { echo "$dir: too long a path for sockets below it; set RETORT_CLUSTER_DIR" >&2; exit 2; }
mkdir -p "$dir"/{bin,build,pki,etcd,run,kubelet,cni,logs,store/retort}

is_running() { [ -f "$dir/run/$1.pid" ] && kill -0 "$(cat "$dir/run/$1.pid")" 2>/dev/null; }

# start NAME COMMAND…: in the background, unless it runs already; its id and its log are kept under its name.
start() {
  local name=$1
  shift
  if is_running "$name"; then return; fi
  setsid nohup "$@" >> "$dir/logs/$name.log" 2>&1 < /dev/null &
  echo $! > "$dir/run/$name.pid"
}

# port NAME PROCESS FIRST: the port that the process has, or else the first one from FIRST on that nobody listens at.
port() {
  local file=$dir/run/$1.port number=$3
  if is_running "$2" && [ -f "$file" ]; then return; fi
  while (exec 3<> "/dev/tcp/127.0.0.1/$number") 2>/dev/null || (exec 3<> "/dev/tcp/$address/$number") 2>/dev/null; do
    number=$((number + 1))
  done
  echo "$number" > "$file"
}
at() { cat "$dir/run/$1.port"; }

wait_for() { # SECONDS COMMAND…
  local left=$1
  shift
  until "$@" >/dev/null 2>&1; do
    [ $((left -= 1)) -gt 0 ] || { echo "gave up waiting for: $*" >&2; exit 1; }
    sleep 1
  done
}

certificates() {
  cd "$dir/pki"
  if [ ! -f done ]; then
    openssl genrsa -out sa.key 2048 2>/dev/null
    openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 365 -subj /CN=kube-ca 2>/dev/null
    local names=DNS:localhost,DNS:kubernetes.default.svc,DNS:$node,IP:127.0.0.1,IP:10.96.0.1,IP:$address
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
    touch done
  fi
  local user
  for user in admin controllers scheduler kubelet; do
    config() { "$dir/bin/kubectl" config --kubeconfig="$dir/$user.conf" "$@" >/dev/null; }
    config set-cluster retort --server="https://127.0.0.1:$(at apiserver)" --certificate-authority=ca.crt --embed-certs=true
    config set-credentials $user --client-certificate=$user.crt --client-key=$user.key --embed-certs=true
    config set-context retort --cluster=retort --user=$user
    config use-context retort
  done
}

configuration() {
  cat > "$dir/containerd.toml" <<END
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
END
  # Pods reach one another and this machine, nothing else: the images hold all that the tests need.
  cat > "$dir/cni/10-bridge.conflist" <<END
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "retort0", "isGateway": true,
   "ipam": {"type": "host-local", "dataDir": "$dir/run/addresses", "ranges": [[{"subnet": "10.244.0.0/24"}]],
            "routes": [{"dst": "0.0.0.0/0"}]}}]}
END
  cat > "$dir/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $dir/pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $dir/pki/kubelet.crt
tlsPrivateKeyFile: $dir/pki/kubelet.key
containerRuntimeEndpoint: unix://$dir/run/containerd.sock
podLogsDir: $dir/logs/pods
port: $(at kubelet)
healthzPort: 0
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
clusterDNS: [$address]
clusterDomain: cluster.local
oomScoreAdj: 0
enforceNodeAllocatable: []
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
END
}

start_kubelet() {
  start kubelet "$dir/bin/kubelet" --config="$dir/kubelet.yaml" --kubeconfig="$dir/kubelet.conf" \
    --hostname-override=$node --node-ip=$address --root-dir="$dir/kubelet"
}

start_dns() {
  cat > "$dir/Corefile" <<END
. {
  bind $address
  errors
  kubernetes cluster.local {
    kubeconfig $dir/admin.conf retort
  }
}
END
  start dns "$dir/bin/dns" -conf "$dir/Corefile"
}

start_store() {
  ROOT_ACCESS_KEY=retort ROOT_SECRET_KEY=hidden-word-of-the-store \
    start store "$dir/bin/versitygw" --port "$address:$(at store)" posix "$dir/store"
}

start_cluster() {
  local bin=$dir/bin
  local etcd=http://127.0.0.1:$(at etcd) peers=http://127.0.0.1:$(at peers)
  export KUBECONFIG=$dir/admin.conf PATH=$bin:$PATH
  start etcd etcd --data-dir "$dir/etcd" --listen-client-urls "$etcd" --advertise-client-urls "$etcd" \
    --listen-peer-urls "$peers" --initial-advertise-peer-urls "$peers" --initial-cluster "default=$peers" --unsafe-no-fsync
  start containerd containerd -c "$dir/containerd.toml"
  start apiserver "$bin/kube-apiserver" --etcd-servers="$etcd" --bind-address=127.0.0.1 --secure-port="$(at apiserver)" \
    --advertise-address=127.0.0.1 --endpoint-reconciler-type=none --service-cluster-ip-range=10.96.0.0/16 \
    --tls-cert-file="$dir/pki/apiserver.crt" --tls-private-key-file="$dir/pki/apiserver.key" \
    --client-ca-file="$dir/pki/ca.crt" --service-account-key-file="$dir/pki/sa.key" \
    --service-account-signing-key-file="$dir/pki/sa.key" --service-account-issuer=https://kubernetes.default.svc \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
    --kubelet-certificate-authority="$dir/pki/ca.crt" --kubelet-preferred-address-types=InternalIP \
    --kubelet-client-certificate="$dir/pki/admin.crt" --kubelet-client-key="$dir/pki/admin.key" --allow-privileged
  wait_for 240 kubectl get --raw /readyz # started sooner, the controllers lose a race with the first roles
  wait_for 60 kubectl get clusterrole system:kube-controller-manager
  start controllers "$bin/kube-controller-manager" --kubeconfig="$dir/controllers.conf" --leader-elect=false \
    --secure-port="$(at controllers)" --service-account-private-key-file="$dir/pki/sa.key" \
    --root-ca-file="$dir/pki/ca.crt" --use-service-account-credentials
  start scheduler "$bin/kube-scheduler" --kubeconfig="$dir/scheduler.conf" --leader-elect=false \
    --secure-port="$(at scheduler)"
  start_dns
  start_kubelet
  wait_for 240 sh -c "kubectl get node $node | grep -q ' Ready'"
}

case ${2:-all} in
kubelet) start_kubelet ;;
store) start_store ;;
all)
  is_running apiserver || { rm -rf "$dir/logs" && mkdir -p "$dir/logs"; }
  "$here/binaries.sh" "$dir"
  ip address replace $address/32 dev lo
  port etcd etcd 2379
  port peers etcd 2390
  port apiserver apiserver 6443
  port controllers controllers 10257
  port scheduler scheduler 10267
  port kubelet kubelet 10250
  port store store 7070
  certificates
  is_running kubelet || configuration
  start_cluster
  ;;
esac
