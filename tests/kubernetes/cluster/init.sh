#!/bin/bash
# The first process of the node's namespaces: mounts what is the node's alone, and runs its programs.
# usage: init.sh FOLDER BIN ROOT IMAGE...
folder=$1 bin=$2 root=$3
shift 3
export PATH=$bin:$root/usr/bin:$root/usr/sbin:$PATH:/usr/sbin:/sbin LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu
hostname node1
mount -t tmpfs tmpfs /run
mkdir -p /run/node /run/lock "$folder/kubelet"
mount --make-rshared /
touch "$folder/mounted"
while [ ! -e "$folder/connected" ]; do sleep 0.05; done

run() {
  local name=$1
  shift
  "$@" >"$folder/log/$name.log" 2>&1 &
  echo "$name $!" >>"$folder/pids"
}

apiserver() {
  run kube-apiserver kube-apiserver --etcd-servers=http://127.0.0.1:2379 --secure-port=6443 --bind-address=0.0.0.0 \
    --advertise-address=10.123.0.2 --cert-dir="$folder/pki" --service-cluster-ip-range=10.96.0.0/16 \
    --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$folder/pki/sa.key" \
    --service-account-signing-key-file="$folder/pki/sa.key" --token-auth-file="$folder/pki/tokens.csv" \
    --authorization-mode=Node,RBAC --allow-privileged=true --kubelet-preferred-address-types=InternalIP \
    --endpoint-reconciler-type=master-count --profiling=false
}

ready() { curl -sk --max-time 2 -H 'Authorization: Bearer admin-token' https://127.0.0.1:6443/readyz | grep -qx ok; }

run etcd etcd --name=node --data-dir="$folder/etcd" --listen-client-urls=http://127.0.0.1:2379 \
  --advertise-client-urls=http://127.0.0.1:2379 --listen-peer-urls=http://127.0.0.1:2380 \
  --initial-advertise-peer-urls=http://127.0.0.1:2380 --initial-cluster=node=http://127.0.0.1:2380 --unsafe-no-fsync
run containerd containerd -c "$folder/containerd.toml"
apiserver
while [ ! -s "$folder/pki/apiserver.crt" ]; do sleep 0.1; done
run kube-controller-manager kube-controller-manager --kubeconfig="$folder/kcm.kubeconfig" \
  --service-account-private-key-file="$folder/pki/sa.key" --root-ca-file="$folder/pki/apiserver.crt" \
  --use-service-account-credentials=true --leader-elect=false --profiling=false --kube-api-qps=200 --kube-api-burst=400
run kube-scheduler kube-scheduler --kubeconfig="$folder/sched.kubeconfig" --leader-elect=false --profiling=false \
  --kube-api-qps=200 --kube-api-burst=400
while ! ctr -a /run/node/containerd.sock version >/dev/null 2>&1; do sleep 0.1; done
for image in "$@"; do ctr -a /run/node/containerd.sock -n k8s.io images import "$image"; done
while ! ready; do sleep 0.2; done
run kubelet kubelet --config="$folder/kubelet.yaml" --kubeconfig="$folder/kubelet.kubeconfig" \
  --hostname-override=node1 --node-ip=10.123.0.2 --root-dir="$folder/kubelet" --cert-dir="$folder/kubelet/pki"
run kube-proxy kube-proxy --config="$folder/proxy.yaml"
run coredns coredns -conf "$folder/Corefile"
# The API server is started again by its process's end, so that a test can restart it.
while :; do
  wait -n 2>/dev/null || sleep 0.2
  if [ -e "$folder/restart" ]; then
    rm "$folder/restart"
    while curl -sk --max-time 1 https://127.0.0.1:6443/ >/dev/null; do sleep 0.1; done
    sleep 1 # its port is not free at once
    apiserver
  fi
done
