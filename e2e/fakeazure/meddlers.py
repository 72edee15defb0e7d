"""Tools that write a NIC from what they know of it, and so drop what azure-cni has put there since.

Each says its source, and does what that says: a whole PUT with an operation of its own, which cancels one that is under
way. None sends If-Match.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fakeazure.records import IpConfig, Nic

if TYPE_CHECKING:
    from fakeazure.fake import FakeAzure

AZURE_CNI = "azure-cni-"
"""What the names of its configurations begin with."""
Configs = tuple[IpConfig, ...]


@dataclass(frozen=True, slots=True)
class Meddler:
    """`source`: where it is described. `keeps`: of the NIC as it is, and as it was before its last change, what the
    tool's body has. `failed_only`: it writes no NIC but one whose last operation failed.
    """

    source: str
    keeps: Callable[[Nic, Nic], Configs]
    failed_only: bool = False


def _template(now: Nic, _: Nic) -> Configs:
    """What a machine's template has: the primary configuration."""
    return (now.primary,)


def _as_remembered(_: Nic, before: Nic) -> Configs:
    return before.configs


def _without_ours(now: Nic, _: Nic) -> Configs:
    """What is in its files: nothing that azure-cni made."""
    return tuple(config for config in now.configs if not config.name.startswith(AZURE_CNI))


MEDDLERS: dict[str, Meddler] = {
    "capz": Meddler(
        "Cluster API for Azure creates a NIC again whose provisioningState is Failed, from the machine's template "
        "(cluster-api-provider-azure, pull 5569)",
        _template,
        failed_only=True,
    ),
    "ccm": Meddler(
        "cloud-provider-azure reads NICs, changes their backend pools and writes them back for LoadBalancer Services, "
        "with nodeIPConfiguration and without If-Match (its source, and the notes on it of 2026-11)",
        _as_remembered,
    ),
    "terraform": Meddler(
        "azurerm_network_interface: its ip_configuration blocks are the whole list, so an apply removes all others "
        "(documentation of the provider azurerm)",
        _without_ours,
    ),
}


def meddle(azure: "FakeAzure", nic_name: str, by: str) -> None:
    """One of MEDDLERS writes the NIC; ValueError for another, and where the tool would leave this NIC alone."""
    if by not in MEDDLERS:
        raise ValueError(f"no tool {by!r}: there are {', '.join(MEDDLERS)}")
    now, meddler = azure.settle(), MEDDLERS[by]
    nic = azure.nic_record(nic_name)
    if meddler.failed_only and nic.state != "Failed":
        raise ValueError(
            f"{by} leaves {nic_name} alone: it is {nic.state}, and only one that is Failed is written again"
        )
    before = azure.network.earlier.get(nic.id.lower(), nic)
    body = replace(nic, configs=meddler.keeps(nic, before)).document()
    draft = azure.nics.read(nic.id, body)
    azure.nics.write(draft, now=now, duration_s=azure.operation_duration_s)
