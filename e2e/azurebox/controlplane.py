"""The control plane, in a VM of its own: etcd, kube-apiserver, kube-controller-manager, kube-scheduler.

RBAC and the Node authorizer are on, admission is the default with NodeRestriction. Certificates are static (pki.py).
etcd does not fsync: a box that crashes is recreated, not recovered.
"""

import base64
import json
import os
import sys
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

from azurebox import processes, tools
from azurebox.facts import AGNHOST, CONTROL_PLANE, KUBECONFIG, KUBERNETES_SERVICE, RUN, SERVICE_CIDR, SERVICE_CIDR6
from azurebox.machine import NETNS, Machine
from azurebox.processes import Process
from azurebox.steps import StepError, capture, write_whole

if TYPE_CHECKING:  # who only passes a command on needs no cryptography, and should not wait for its import
    from azurebox.pki import KeyPair

PKI = "/etc/kubernetes/pki"
READY_TIMEOUT_S = 240
ADMINISTRATORS = "system:masters"


class ControlPlane:
    """The control plane on the VM `azbox-cp` with the primary address `address`; dual stack counts when it starts."""

    def __init__(self, address: IPv4Address, *, dual_stack: bool = False) -> None:
        from azurebox.pki import Authority

        self._services = f"{SERVICE_CIDR},{SERVICE_CIDR6}" if dual_stack else str(SERVICE_CIDR)
        self.machine = Machine(CONTROL_PLANE)
        self.address = address
        self.authority = Authority(self.machine.disk / "authority")

    @property
    def url(self) -> str:
        """Where the API server is."""
        return f"https://{self.address}:6443"

    def start(self) -> None:
        """Bring it up and wait until the API server is ready and people have their kubeconfig."""
        if not (self.machine.disk / "etc/kubernetes/pki/sa.key").exists():
            self._write_credentials()
        self._start_etcd()
        apiserver = self._start_apiserver()
        if not KUBECONFIG.exists():
            pair = self.authority.issue("azbox-admin", (ADMINISTRATORS,))
            write_whole(KUBECONFIG, self.kubeconfig(pair), mode=0o600)
        processes.wait_until(apiserver, _ready, timeout_s=READY_TIMEOUT_S, what="the API server to be ready")
        self._start_controllers()  # they give up at once when they may not read yet, so not earlier

    def kubeconfig(self, user: "KeyPair") -> str:
        """A kubeconfig (JSON is YAML) for `user`."""
        cluster = {"server": self.url, "certificate-authority-data": _encode(self.authority.pem)}
        credentials = {
            "client-certificate-data": _encode(user.certificate),
            "client-key-data": _encode(user.key),
        }
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "azbox", "cluster": cluster}],
                "users": [{"name": "user", "user": credentials}],
                "contexts": [{"name": "azbox", "context": {"cluster": "azbox", "user": "user"}}],
                "current-context": "azbox",
            },
            indent=1,
        )

    def _write_credentials(self) -> None:
        from azurebox.pki import signing_key

        apiserver = self.authority.issue(
            "kube-apiserver",
            names=("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", CONTROL_PLANE),
            addresses=(self.address, KUBERNETES_SERVICE, IPv4Address("127.0.0.1")),
        )
        kubelet_client = self.authority.issue("kube-apiserver-kubelet-client", (ADMINISTRATORS,))
        write = self.machine.write
        write(f"{PKI}/ca.crt", self.authority.pem)
        for name, pair in (("apiserver", apiserver), ("apiserver-kubelet-client", kubelet_client)):
            write(f"{PKI}/{name}.crt", pair.certificate)
            write(f"{PKI}/{name}.key", pair.key, mode=0o600)
        for name in ("kube-controller-manager", "kube-scheduler"):
            pair = self.authority.issue(f"system:{name}")
            write(f"/etc/kubernetes/{name}.kubeconfig", self.kubeconfig(pair), mode=0o600)
        write(f"{PKI}/sa.key", signing_key(), mode=0o600)

    def _start_etcd(self) -> None:
        self.machine.service(
            "etcd",
            ["etcd", "--data-dir=/var/lib/etcd", "--unsafe-no-fsync", "--logger=zap",
             "--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
             "--listen-peer-urls=http://127.0.0.1:2380"],
        )  # fmt: skip

    def _start_apiserver(self) -> Process:
        return self.machine.service(
            "kube-apiserver",
            ["kube-apiserver",
             "--etcd-servers=http://127.0.0.1:2379",
             f"--advertise-address={self.address}",
             f"--service-cluster-ip-range={self._services}",
             f"--tls-cert-file={PKI}/apiserver.crt", f"--tls-private-key-file={PKI}/apiserver.key",
             f"--client-ca-file={PKI}/ca.crt",
             f"--kubelet-client-certificate={PKI}/apiserver-kubelet-client.crt",
             f"--kubelet-client-key={PKI}/apiserver-kubelet-client.key",
             f"--kubelet-certificate-authority={PKI}/ca.crt",
             "--kubelet-preferred-address-types=InternalIP",  # there is no DNS for node names
             "--service-account-issuer=https://kubernetes.default.svc",
             f"--service-account-key-file={PKI}/sa.key", f"--service-account-signing-key-file={PKI}/sa.key",
             "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
             "--allow-privileged=true",
             # It asks etcd for more than Debian's 3.4 can answer, and complains of that once a second.
             "--feature-gates=SizeBasedListCostEstimate=false"],
        )  # fmt: skip

    def _start_controllers(self) -> None:
        kubeconfig = "/etc/kubernetes/kube-controller-manager.kubeconfig"
        self.machine.service(
            "kube-controller-manager",
            ["kube-controller-manager",
             f"--kubeconfig={kubeconfig}",
             f"--authentication-kubeconfig={kubeconfig}", f"--authorization-kubeconfig={kubeconfig}",
             f"--service-account-private-key-file={PKI}/sa.key", f"--root-ca-file={PKI}/ca.crt",
             f"--service-cluster-ip-range={self._services}",
             "--use-service-account-credentials", "--leader-elect=false", "--bind-address=127.0.0.1"],
        )  # fmt: skip
        kubeconfig = "/etc/kubernetes/kube-scheduler.kubeconfig"
        self.machine.service(
            "kube-scheduler",
            ["kube-scheduler",
             f"--kubeconfig={kubeconfig}",
             f"--authentication-kubeconfig={kubeconfig}", f"--authorization-kubeconfig={kubeconfig}",
             "--leader-elect=false", "--bind-address=127.0.0.1"],
        )  # fmt: skip


PROGRAMS = (Path(sys.executable).parent, tools.path("kubectl").parent, tools.path("helm").parent)
"""Directories of what people run."""


def people(program: str, *args: str) -> list[str]:
    """The command line of a person's tool (kubectl, helm): in the control plane's network, with the host's files.

    It finds the cluster by `people_environment`: kubectl takes no flag before the name of a plugin.
    """
    return ["nsenter", f"--net={NETNS / CONTROL_PLANE}", "--", str(tools.path(program)), *args]


def command_line(*args: str) -> list[str]:
    """The product's own command line, of this environment; it finds the cluster by `people_environment`."""
    return ["nsenter", f"--net={NETNS / CONTROL_PLANE}", "--", sys.executable, "-m", "azure_cni", *args]


def in_shell(command: str) -> list[str]:
    """The command line of a line that a person pastes into a shell; `people_environment` has what it needs."""
    return ["nsenter", f"--net={NETNS / CONTROL_PLANE}", "--", "sh", "-c", command]


def people_environment() -> dict[str, str]:
    """The caller's environment without its proxies, and the caches of kubectl and helm among the box's files.

    The programs of this Python environment come first on the path: one of them is `kubectl azure-cni`. Then the box's.
    """
    return {
        **os.environ,
        "PATH": ":".join([*map(str, PROGRAMS), os.environ.get("PATH", os.defpath)]),
        "NO_PROXY": "*",
        "AZURE_CNI_TEST_IMAGE": AGNHOST,  # azure-cni test: nothing can be pulled in the box
        "KUBECONFIG": str(KUBECONFIG),
        "KUBECACHEDIR": str(RUN / "kube-cache"),
        "HELM_CACHE_HOME": str(RUN / "helm"),
        "HELM_CONFIG_HOME": str(RUN / "helm"),
        "HELM_DATA_HOME": str(RUN / "helm"),
    }


def kubectl(*args: str, stdin: str | None = None) -> str:
    """Run kubectl as the administrator and return its output.

    Raises:
        StepError: it failed; carries what it said.

    """
    return capture(
        people("kubectl", *args), what=f"kubectl {' '.join(args[:4])}", stdin=stdin, env=people_environment()
    )


def _ready() -> bool:
    try:
        return kubectl("get", "--raw", "/readyz").strip() == "ok"
    except StepError:
        return False


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
