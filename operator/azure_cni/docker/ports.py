"""What serving Docker needs from outside, beyond the ports of a node (`node.ports`).

Every method raises only errors of `azure_cni.errors`.
"""

from __future__ import annotations

from typing import Protocol

from azure_cni.datapath.interface import Wiring
from azure_cni.ipam.address_state import Sandbox
from azure_cni.model.nic import VNetID
from azure_cni.node.ports import SandboxSpec


class LinkHandover(Protocol):
    """The part of a data plane for runtimes that move a link into the container themselves."""

    async def offer(self, spec: SandboxSpec) -> Wiring:
        """Wire the node's end; `Wiring.pod` is the other one, bare, in the node's namespace. `spec.netns` is not used.

        A repeat before the move is the same result; DatapathError after it. On error nothing is left. `Datapath.detach`
        ends it, wherever the container's end is then.
        """

    def mac(self, sandbox: Sandbox) -> str:
        """The MAC that the container's end gets, before it is there."""


class Forwarding(Protocol):
    """The firewall that Docker itself sets up on the host."""

    async def admit(self, uplink: str) -> bool:
        """Let it forward between our links, and between them and the interface of that name. DatapathError.

        Whether it did not.
        """


class StateFile(Protocol):
    """One small file, replaced as a whole."""

    @property
    def name(self) -> str:
        """By which people find it."""

    def read(self) -> bytes | None:
        """Its content; None where there is no such file. AzureCniError."""

    def write(self, content: bytes) -> None:
        """Replace it: a reader, or the next process, finds the old content or the new one. AzureCniError."""


class VNetUsage(Protocol):
    """How full a VNet is, as Azure counts it."""

    async def used(self, vnet_id: VNetID) -> int:
        """Addresses in use in all its subnets, whoever uses them. CloudError."""


class Engine(Protocol):
    """Docker's own API, as far as it is read. It need not be there, nor be true: see `engine_roll`."""

    async def get(self, path: str) -> bytes:
        """The body of the answer to GET: JSON, as it came.

        AzureCniError where there is no answer, none in time, one without an end, or a refusal.
        """
