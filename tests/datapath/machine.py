"""A node whose kernel is real: a namespace, the data plane inside it, and pods made on demand."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from typing import Any

from azure_cni.datapath import names
from azure_cni.datapath.sandbox import SandboxSpec
from azure_cni.linux.datapath import LinuxDatapath
from datapath.namespaces import Namespace, Namespaces

MTU = 1400


@dataclass
class Machine:
    """A node whose kernel is real, and its pods."""

    namespaces: Namespaces
    node: Namespace
    datapath: LinuxDatapath
    pods: dict[str, Namespace] = field(default_factory=dict)

    def spec(self, address: str, *, pod: Namespace | None = None, **changes: Any) -> SandboxSpec:
        """A sandbox with this address in a namespace of its own; the address serves as container ID."""
        pod = pod or self.pods.setdefault(address, self.namespaces.new())
        spec = SandboxSpec(
            netns=pod.path,
            ifname="eth0",
            address=IPv4Address(address),
            host_ifname=names.host_ifname(address, "eth0"),
            host_mac=names.host_mac(address, "eth0"),
            pod_mac=names.pod_mac(address, "eth0"),
            mtu=MTU,
        )
        return replace(spec, **changes)

    async def pod(self, address: str, **changes: Any) -> Namespace:
        """A namespace that is wired."""
        spec = self.spec(address, **changes)
        await self.datapath.attach(spec)
        return self.pods[address]
