"""A node: containerd, kubelet and kube-proxy in a VM, with the CNI plugins that any node has.

The VM is a real node in all but its kernel: the paths are the usual ones, the kubelet's certificates are its own, and
it is Ready only when a CNI conflist is in /etc/cni/net.d.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from azurebox import cgroups, processes, tools
from azurebox.azure import Nic
from azurebox.controlplane import ControlPlane
from azurebox.facts import CLUSTER_DNS, vm_id
from azurebox.machine import Machine
from azurebox.processes import Process
from azurebox.steps import capture

PAUSE_IMAGE = "localhost/azbox/pause:1"
MAX_PODS = 250  # Azure documentation, container networking overview: 250 addresses per VM
CONTAINERD_SERVICE = "containerd"
CONTAINERD_TIMEOUT_S = 180

RUNTIMES = ("containerd-2", "containerd-1.6")
"""The first is what nodes have by default, built from source; the second is Debian 12's, out of support."""

# Version 2 is the newest that containerd 1.6 reads; containerd 2 migrates it in memory.
CONTAINERD = f"""\
version = 2
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt"]

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  disable_apparmor = true

  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "/etc/containerd/certs.d"  # 2.4 takes its default, two places with a colon between, for one

  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"""


def kubelet_configuration(name: str) -> dict[str, object]:
    """The KubeletConfiguration of the node `name`."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": "/etc/kubernetes/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": "/etc/kubernetes/kubelet.crt",
        "tlsPrivateKeyFile": "/etc/kubernetes/kubelet.key",
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "providerID": f"azure://{vm_id(name)}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{name}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [str(CLUSTER_DNS)],
        "clusterDomain": "cluster.local",
        "resolvConf": "/etc/resolv.conf",
        "oomScoreAdj": 0,  # lower than its parent's takes a privilege that a box in a container may lack
        "maxPods": MAX_PODS,
        "serializeImagePulls": False,
        # The disk is the host's: how full that is must not evict the box's pods.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
    }


PROXY_CONFIGURATION = {
    "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
    "kind": "KubeProxyConfiguration",
    "mode": "iptables",
    "linux": {"oomScoreAdj": 0},
    "clientConnection": {"kubeconfig": "/etc/kubernetes/kube-proxy.kubeconfig"},
    "conntrack": {"maxPerCore": 0},  # the limit is the whole kernel's and not this namespace's: leave it alone
}


class Node:
    """The node on the VM `machine`, whose NIC is `nic`; `runtime` is one of RUNTIMES, and counts at its first start."""

    def __init__(self, machine: Machine, nic: Nic, control_plane: ControlPlane, *, runtime: str = RUNTIMES[0]) -> None:
        self.machine, self.nic, self.control_plane, self.runtime = machine, nic, control_plane, runtime

    def start(self, images: Sequence[Path]) -> None:
        """Bring the node's services up, its images loaded before the first pod may ask for them."""
        self.prepare(images)
        self.join()

    def prepare(self, images: Sequence[Path]) -> None:
        """Start the runtime and load images: all that needs no API server."""
        if not (self.machine.disk / "etc/kubernetes/kubelet.json").exists():
            self._write_files()
        cgroups.ensure(self.machine.name)
        await_containerd(self.machine, self.machine.service(CONTAINERD_SERVICE, ["containerd"]))
        for image in images:
            load_image(self.machine, image)

    def join(self) -> None:
        """Start what makes it a node; the API server must be ready."""
        self.machine.service(
            "kubelet",
            ["kubelet", "--config=/etc/kubernetes/kubelet.json", "--kubeconfig=/etc/kubernetes/kubelet.kubeconfig",
             f"--hostname-override={self.machine.name}",
             f"--node-ip={','.join(str(address) for address in (self.nic.primary, self.nic.ipv6) if address)}"],
        )  # fmt: skip
        self.machine.service(
            "kube-proxy",
            ["kube-proxy", "--config=/etc/kubernetes/kube-proxy.json", f"--hostname-override={self.machine.name}"],
        )

    def _write_files(self) -> None:
        name, write, authority = self.machine.name, self.machine.write, self.control_plane.authority
        user = authority.issue(f"system:node:{name}", ("system:nodes",), names=(name,), addresses=(self.nic.primary,))
        proxy = authority.issue("system:kube-proxy")
        write("/etc/kubernetes/ca.crt", authority.pem)
        write("/etc/kubernetes/kubelet.crt", user.certificate)
        write("/etc/kubernetes/kubelet.key", user.key, mode=0o600)
        write("/etc/kubernetes/kubelet.kubeconfig", self.control_plane.kubeconfig(user), mode=0o600)
        write("/etc/kubernetes/kube-proxy.kubeconfig", self.control_plane.kubeconfig(proxy), mode=0o600)
        write("/etc/kubernetes/kube-proxy.json", json.dumps(PROXY_CONFIGURATION, indent=1))
        write("/etc/containerd/config.toml", CONTAINERD)
        for plugin in tools.REFERENCE.binaries:
            shutil.copy(tools.path(plugin), self.machine.disk / "opt/cni/bin" / plugin)
        if self.runtime == RUNTIMES[0]:
            # Before Debian's in the services' PATH, by which containerd also finds its shim.
            own = self.machine.disk / "opt/azbox/containerd"
            own.mkdir(exist_ok=True)
            for program in tools.CONTAINERD.binaries:
                shutil.copy(tools.path(program), own / program)
        # Last: its presence says that all the others are there.
        write("/etc/kubernetes/kubelet.json", json.dumps(kubelet_configuration(name), indent=1))


def await_containerd(machine: Machine, containerd: Process) -> None:
    """Wait until a machine's containerd answers: a kubelet that finds none at its start ends at once.

    Raises:
        StepError: it does not within CONTAINERD_TIMEOUT_S, or it ended; carries its log.

    """
    processes.wait_until(
        containerd,
        lambda: "OK" in machine.run(["sh", "-c", "ctr version >/dev/null 2>&1 && echo OK || true"]),
        timeout_s=CONTAINERD_TIMEOUT_S,
        what=f"containerd on {machine.name} to answer",
    )


def load_image(machine: Machine, archive: Path) -> None:
    """Load an image archive into a node's containerd, unless this very archive was the last of its name there."""
    mark = machine.disk / "images" / archive.name
    stamp = f"{archive.stat().st_mtime_ns} {archive.stat().st_size}"
    if mark.exists() and mark.read_text() == stamp:
        return
    # The archive is the host's file, which the VM may not see: the host's shell opens it.
    capture(
        ["sh", "-c", 'archive=$1; shift; exec "$@" <"$archive"', "load", str(archive),
         *machine.enter(["ctr", "--namespace=k8s.io", "images", "import", "-"])],
        what=f"load {archive.name} into {machine.name}",
    )  # fmt: skip
    mark.parent.mkdir(exist_ok=True)
    mark.write_text(stamp)
