"""What the node's programs are told."""

from __future__ import annotations

import json
from pathlib import Path

from tests.kubernetes.cluster.images import PAUSE
from tests.kubernetes.cluster.programs import ROOT

CLIENT, NODE = "10.123.0.1", "10.123.0.2"
PODS, SERVICES = "10.244.0.0/16", "10.96.0.0/16"
API = f"https://{NODE}:6443"
ADMIN_TOKEN = "admin-token"

_TOKENS = """\
admin-token,admin,admin,system:masters
kcm-token,system:kube-controller-manager,kcm
sched-token,system:kube-scheduler,sched
kubelet-token,system:node:node1,node1,system:nodes
proxy-token,system:kube-proxy,proxy
"""
_USERS = ("admin", "kcm", "sched", "kubelet", "proxy")

_COREFILE = """\
.:53 {{
  errors
  health 127.0.0.1:8085
  ready 127.0.0.1:8185
  cache 2
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {folder}/admin.kubeconfig x
    pods insecure
    ttl 2
  }}
}}
"""

_CONTAINERD = """\
version = 2
root = "{folder}/containerd"
state = "/run/node/containerd"
oom_score = 0
disabled_plugins = [
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.internal.v1.tracing"
]
[grpc]
  address = "/run/node/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = "{root}/usr/sbin/runc"
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{root}/usr/lib/cni"
    conf_dir = "{folder}/cni"
"""


def write(folder: Path) -> None:
    """All files of a node that lives in `folder`."""
    for name in ("pki", "log", "cni"):
        (folder / name).mkdir(parents=True)
    (folder / "pki/tokens.csv").write_text(_TOKENS)
    for user in _USERS:
        _write_json(folder / f"{user}.kubeconfig", _kubeconfig(folder, f"{user}-token"))
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    (folder / "Corefile").write_text(_COREFILE.format(folder=folder))
    (folder / "containerd.toml").write_text(_CONTAINERD.format(folder=folder, root=ROOT, pause=PAUSE))
    _write_json(folder / "kubelet.yaml", _kubelet(folder))
    _write_json(folder / "proxy.yaml", _proxy(folder))
    _write_json(folder / "cni/10-bridge.conflist", _cni())


def _write_json(path: Path, document: object) -> None:
    path.write_text(json.dumps(document, indent=1))


def _kubeconfig(folder: Path, token: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": API, "certificate-authority": f"{folder}/pki/apiserver.crt"}}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }


def _kubelet(folder: Path) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "0.0.0.0",
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "containerRuntimeEndpoint": "unix:///run/node/containerd.sock",
        "clusterDNS": [NODE],
        "clusterDomain": "cluster.local",
        "resolvConf": f"{folder}/resolv.conf",
        "staticPodPath": "",
        "podLogsDir": f"{folder}/podlogs",
        "volumePluginDir": f"{folder}/volplugins",
        "enforceNodeAllocatable": [],
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "registerNode": True,
        "localStorageCapacityIsolation": False,
        "syncFrequency": "10s",
        "nodeStatusUpdateFrequency": "5s",
    }


def _proxy(folder: Path) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": PODS,
        "clientConnection": {"kubeconfig": f"{folder}/proxy.kubeconfig"},
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "hostnameOverride": "node1",
        "metricsBindAddress": "127.0.0.1:10249",
        "healthzBindAddress": "127.0.0.1:10256",
    }


def _cni() -> dict[str, object]:
    ipam = {
        "type": "host-local",
        "ranges": [[{"subnet": "10.244.0.0/24"}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": "/run/node/cni",
    }
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": False, "hairpinMode": True, "mtu": 1500}
    return {
        "cniVersion": "0.4.0",
        "name": "node",
        "plugins": [{**bridge, "ipam": ipam}, {"type": "portmap", "capabilities": {"portMappings": True}}],
    }
