"""What wires the pods of a node of the run: on Linux a fake kernel, on Windows the product's own data plane on the
stand-in for HNS, by the C interface of its library.

Beside wiring a pod, both say whether it is there, so that a run fails where a pod is counted that has no network.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Final, Protocol

from azure_cni.model.nic import Address
from azure_cni.node.ports import Datapath
from azure_cni.windows.datapath import HcnDatapath
from fakehns.service import FakeHns
from simulation.datapath import FakeDatapath
from simulation.plan import Machine
from windows.library import FakeAdapters, stand_in_hcn

MTU: Final = 1500


class DataPlane(Protocol):
    """One node's."""

    @property
    def datapath(self) -> Datapath:
        """For the node's ports."""
        ...

    def netns(self, pod: str) -> str:
        """As the runtime names the network of a pod that it has made; the same for a repeat."""
        ...

    def wired(self, netns: str) -> frozenset[Address]:
        """The addresses that lead into a pod's network."""
        ...

    async def close(self) -> None:
        """The node is gone."""
        ...


class LinuxPlane:
    """A namespace is a path."""

    def __init__(self) -> None:
        self.datapath = FakeDatapath()

    def netns(self, pod: str) -> str:
        return f"/run/netns/{pod}"

    def wired(self, netns: str) -> frozenset[Address]:
        pods = (one.pod for one in self.datapath.wired.values() if one.netns == netns)
        return frozenset(one.ip for pod in pods for one in pod.addresses)

    async def close(self) -> None: ...


class WindowsPlane:
    """A namespace is a GUID of HNS."""

    def __init__(self, machine: Machine, *, subnet_prefix: int) -> None:
        self._hns = FakeHns()
        self._namespaces: dict[str, str] = {}
        adapters = FakeAdapters(
            self._hns, mac=machine.mac, primary=IPv4Address(machine.primary_ip), mtu=MTU, prefix=subnet_prefix
        )
        self.datapath = HcnDatapath(stand_in_hcn(self._hns), adapters)

    def netns(self, pod: str) -> str:
        if pod not in self._namespaces:
            self._namespaces[pod] = self._hns.add_namespace()
        return self._namespaces[pod]

    def wired(self, netns: str) -> frozenset[Address]:
        found = (one for one in self._hns.endpoints() if one.get("HostComputeNamespace") == netns)
        return frozenset(IPv4Address(it["IpAddress"]) for one in found for it in one["IpConfigurations"])

    async def close(self) -> None:
        await self.datapath.close()


def data_plane(machine: Machine, *, windows: bool, subnet_prefix: int) -> DataPlane:
    """That of a node on this machine."""
    return WindowsPlane(machine, subnet_prefix=subnet_prefix) if windows else LinuxPlane()


def require_wired(
    plane: DataPlane, netns: str, addresses: Sequence[Address], *, families: Sequence[int] = (4,)
) -> None:
    """AssertionError where a pod was given addresses that do not lead to it, or not one of each family."""
    if [address.version for address in addresses] != list(families):
        raise AssertionError(f"a pod was given {sorted(map(str, addresses))}, not one address of each of {families}")
    given, wired = frozenset(addresses), plane.wired(netns)
    if given != wired:
        raise AssertionError(f"a pod was given {sorted(map(str, given))}, and {sorted(map(str, wired))} lead to it")
