"""What the use cases of a node need of Azure, as `ports` says of all others.

Behind `Cloud` and `Nic` is the resource manager with an identity of the node, the controller (`nicWriter: controller`),
or the metadata service alone (`nicWriter: none`); `entrypoints.azure_wiring` chooses.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from ipaddress import IPv4Address
from typing import Protocol

from azure_cni.errors import CloudError
from azure_cni.model.identity import PRIMARY_NIC, NodeIdentity, VNetView
from azure_cni.model.ipv6 import NO_IPV6, IPv6Growth
from azure_cni.model.nic import AttachmentChange, ConfigName, NicView, StaticConfiguration, SubnetID


class Cloud(Protocol):
    """Azure, as far as a node asks who and where it is."""

    async def identify(self, pod_subnet: SubnetID = PRIMARY_NIC) -> NodeIdentity:
        """IMDS, then the VM and its NICs in ARM; the NIC is matched by MAC. CloudError when any of it fails.

        The NIC is the VM's in `pod_subnet`: NicMissing where it has none there, with what to do.
        """

    async def other_subnets(self) -> tuple[SubnetID, ...] | None:
        """The subnets that the VM has further NICs in, beside its primary one; None where they cannot be listed."""

    async def vnet(self, identity: NodeIdentity) -> VNetView:
        """Prefixes of the VNet and of its connected peers."""


class Nic(Protocol):
    """The one NIC of this node. No retries inside: a failure is raised at once, and pacing is the reconciler's."""

    conclusive: tuple[type[CloudError], ...]
    """The errors of `write` after which a read shows all that came of it, unless Azure had accepted it (`accepted`).
    After any other it may still be carried out, for as long as the NIC's etag is the one that it was decided from."""

    recovers: bool
    """It can be asked for configurations by their addresses."""

    takes_blocks: bool
    """New configurations can be blocks of addresses."""

    async def read(self) -> NicView:
        """One GET."""

    async def write(
        self,
        seen: NicView,
        *,
        add: int = 0,
        size: int = 1,
        remove: Collection[ConfigName] = (),
        attach: Sequence[AttachmentChange] = (),
        ipv6: IPv6Growth = NO_IPV6,
    ) -> NicView:
        """Change the NIC in one write, guarded by `seen.etag`, wait for its operation, and read it again.

        Adds `add` addresses in configurations that hold `size` each, 1 or BLOCK_SIZE (Dynamic, our name prefix, the
        primary's subnet and ASGs) and what `ipv6` says, leaves out those named in `remove`, and changes what those in
        `attach` have attached; both must be ours. All else goes back as it was read: all of it with nothing to change.
        Nothing is written when all of `remove` has left already. PreconditionFailed when it changed since `seen`;
        OperationFailed when the operation ended badly.
        """

    async def recover(self, seen: NicView, configs: Sequence[StaticConfiguration]) -> NicView:
        """Add these configurations, Static with their addresses and else as new ones, in one such write: all or none.

        RequestRefused with one of the codes in `ipam.recovery.UNAVAILABLE` when one of the addresses is another's.
        """

    async def set_security_groups(self, seen: NicView, groups: Sequence[str]) -> NicView:
        """Put all of the NIC into just these application security groups, in one such write."""


class ShownAddresses(Protocol):
    """What shows the NIC's addresses at no cost, and perhaps late: a hint, and no more than that."""

    async def addresses(self, mac: str) -> frozenset[IPv4Address]:
        """All of the NIC with that MAC that work, the primary one too. One attempt; CloudError when it fails."""
