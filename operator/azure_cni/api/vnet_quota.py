"""The VNetQuota object: the limits of one VNet, which are people's, and the ledger of what each node may hold.

The spec is only read once the object exists. Only the controller writes the status. A change of it is a `Draft` of some
fields, so that one compare-and-swap carries entries, budget and sums together. A write stays small even if the ledger
is large, because merge patches name only the entries that change.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from azure_cni.api import conditions
from azure_cni.api.conditions import QuotaKind
from azure_cni.api.node_ip_pool import WriteIntent
from azure_cni.api.quota_usage import AzureUse, SubnetUse, parse_azure_use, parse_subnet_uses
from azure_cni.api.reading import Version, mapping, metadata_of, number, real, spec_of, status_of, text, version, whole
from azure_cni.errors import DecodeFailed
from azure_cni.model.nic import MAX_ADDRESSES_PER_NODE, VNetID
from azure_cni.model.text import exact_time_text, seconds_of

KIND: Final = "VNetQuota"
PLURAL: Final = "vnetquotas"

LIMIT: Final = 16_000
WRITES_PER_MINUTE: Final = 100
"""Half of what Azure's network provider allows a subscription in a region: 1,000 writes in 5 minutes."""
MOST_WRITES_PER_MINUTE: Final = 10_000
"""Fifty times that: more is a mistake, whatever Azure has raised its limits to."""

MOST_IN_A_VNET: Final = 65_536
"""Private addresses of a VNet (Azure documentation, networking limits)."""
MADE_BY_CONTROLLER: Final = "azure-cni.io/made-by-controller"
"""The annotation of one that no person made."""

LONGEST_NIC_LABEL: Final = 256
"""By the definition's schema. Azure's own names are shorter: 90 for a resource group, 80 for a NIC."""

LONGEST_NAME: Final = 200
NAME_SUFFIX: Final = 6


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one VNet, set by people. Counts are addresses; `reserved` is kept for other uses than pods."""

    limit: int = LIMIT
    per_node: int = MAX_ADDRESSES_PER_NODE
    writes_per_minute: int = WRITES_PER_MINUTE
    reserved: int = 0


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """What one node may hold, for which request that was decided, and the NIC (RESOURCE-GROUP/NAME) it is for."""

    count: int = 0
    request_id: int = 0
    nic: str = ""
    write_intent: WriteIntent = WriteIntent.NONE
    """The one NIC write that a token of the budget paid for, with this request."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """The write budget when it was last counted: NIC writes left, and the share of the rate in use (0..1)."""

    tokens: float
    time_s: float
    pace: float


@dataclass(frozen=True, slots=True)
class VNetQuota:
    """One version of the object."""

    name: str
    version: Version
    generation: int
    vnet_id: VNetID
    limits: Limits
    entries: Mapping[str, LedgerEntry]
    is_untouched: bool
    """A controller made it, and nobody has edited its spec since."""
    is_new: bool
    """No ledger was ever written: what nodes hold already is not in it yet."""
    azure: AzureUse | None
    subnets: tuple[SubnetUse, ...]
    """Those that nodes are in, by name."""
    tokens: Tokens | None
    throttled_until_s: float | None
    status: Mapping[str, Any]
    """The rest as it was read: sums and conditions."""
    granted: int = field(init=False)
    """The entries' sum. Added up once, because the words for each of thousands of nodes name it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "granted", sum(entry.count for entry in self.entries.values()))

    def holds(self, kind: QuotaKind) -> bool:
        """Whether that condition is True."""
        return conditions.holds(self.status, kind)

    @property
    def grantable(self) -> int:
        """How many addresses may be granted in total: the limit minus what others use and what is reserved."""
        outside = self.azure.outside if self.azure else 0
        return max(0, self.limits.limit - self.limits.reserved - outside)


@dataclass(frozen=True, slots=True)
class Draft:
    """A change of the status. An entry that is None goes; what is left out stays as it is."""

    entries: Mapping[str, LedgerEntry | None] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)

    def status(self) -> dict[str, Any]:
        """As a merge patch."""
        status = dict(self.fields)
        if self.entries:
            status["grants"] = {key: entry and _entry_document(entry) for key, entry in self.entries.items()}
        return status


def parse(body: Mapping[str, Any]) -> VNetQuota:
    """The object as frozen values; the defaults of the definition where an older one is installed."""
    meta, spec, status = metadata_of(body), spec_of(body), status_of(body)
    grants = status.get("grants")
    return VNetQuota(
        name=text(meta.get("name")),
        version=version(body),
        generation=number(meta.get("generation")),
        vnet_id=VNetID(text(spec.get("vnetID"))),
        limits=Limits(
            limit=whole(spec.get("limit"), most=MOST_IN_A_VNET, default=LIMIT),
            per_node=whole(spec.get("perNodeLimit"), most=MAX_ADDRESSES_PER_NODE, default=MAX_ADDRESSES_PER_NODE),
            writes_per_minute=whole(
                spec.get("writesPerMinute"), most=MOST_WRITES_PER_MINUTE, default=WRITES_PER_MINUTE
            ),
            reserved=whole(spec.get("reserved"), most=MOST_IN_A_VNET),
        ),
        entries={key: _entry(entry) for key, entry in mapping(grants).items() if isinstance(entry, Mapping)},
        is_untouched=bool(mapping(meta.get("annotations")).get(MADE_BY_CONTROLLER))
        and number(meta.get("generation")) == 1,
        is_new=not isinstance(grants, Mapping),
        azure=parse_azure_use(status.get("azure")),
        subnets=parse_subnet_uses(status.get("subnets")),
        tokens=_tokens(status.get("budget")),
        throttled_until_s=seconds_of(status.get("throttledUntil")),
        status={key: value for key, value in status.items() if key != "grants"},
    )


def new_body(name: str, *, vnet_id: VNetID, limits: Limits, api_version: str) -> dict[str, Any]:
    """The object as it is created."""
    return {
        "apiVersion": api_version,
        "kind": KIND,
        "metadata": {"name": name, "annotations": {MADE_BY_CONTROLLER: "true"}},
        "spec": {
            "vnetID": vnet_id,
            "limit": limits.limit,
            "perNodeLimit": limits.per_node,
            "writesPerMinute": limits.writes_per_minute,
            "reserved": limits.reserved,
        },
    }


def quota_name(vnet_id: str, *, taken: Collection[str] = ()) -> str:
    """A name for a new object: the VNet's, made safe for DNS; longer when another VNet has it already."""
    name = re.sub(r"[^a-z0-9.-]+", "-", vnet_id.rsplit("/", 1)[-1].lower())
    name = re.sub(r"(\.-*|-+\.)+", ".", name).strip(".-")[:LONGEST_NAME].strip(".-") or "vnet"
    if name not in taken:
        return name
    digest = hashlib.sha1(vnet_id.lower().encode(), usedforsecurity=False).hexdigest()
    return f"{name}-{digest[:NAME_SUFFIX]}"


_NIC_FORMS: Final = {
    1: "Microsoft.Network/networkInterfaces/{}",
    3: "Microsoft.Compute/virtualMachineScaleSets/{}/virtualMachines/{}/networkInterfaces/{}",
}
"""What follows `providers/` in a NIC's ID, by how many names are in it."""


def nic_label(nic_id: str) -> str:
    """A NIC's resource ID as the ledger writes it, "" for no ID: `RESOURCE-GROUP/NAME`, and for one of an instance of
    a Uniform scale set `RESOURCE-GROUP/SET/INSTANCE/NAME`.
    """
    parts = nic_id.strip("/").split("/")  # subscriptions/S/resourceGroups/G/providers/NAMESPACE, pairs of TYPE/NAME
    names = parts[7::2]
    form = _NIC_FORMS.get(len(names), "").format(*names)
    return "/".join((parts[3], *names)).lower() if form and form.lower() == "/".join(parts[5:]).lower() else ""


def nic_resource_id(label: str, *, vnet_id: str) -> str:
    """The resource ID behind a label. A NIC is in the subscription of its VNet. DecodeFailed where either is none."""
    group, *names = label.split("/")
    parts = vnet_id.strip("/").split("/")
    form = _NIC_FORMS.get(len(names))
    if form is None or not all((group, *names)) or len(parts) < 2 or not parts[1]:  # noqa: PLR2004  # subscriptions/S/...
        raise DecodeFailed(
            f"cannot find out which NIC {label!r} is in VNet {vnet_id!r}: they name no group and subscription"
        )
    return f"/subscriptions/{parts[1]}/resourceGroups/{group}/providers/{form.format(*names)}"


def tokens_document(tokens: Tokens, *, capacity: float) -> dict[str, Any]:
    """`status.budget`; rounded down, so that writing it makes no tokens. `capacity`: as many are kept at most."""
    left = math.floor(tokens.tokens * 1e6) / 1e6
    return {
        "tokens": left,
        "capacity": capacity,
        "time": exact_time_text(tokens.time_s),
        "pace": round(tokens.pace, 4),
    }


def _entry(document: Mapping[str, Any]) -> LedgerEntry:
    return LedgerEntry(
        count=whole(document.get("count"), most=MAX_ADDRESSES_PER_NODE),
        request_id=number(document.get("requestID")),
        nic=text(document.get("nic"))[:LONGEST_NIC_LABEL],
        write_intent=_write_intent(document.get("writeIntent")),
    )


def _write_intent(written: object) -> WriteIntent:
    """A value that this build does not know allows nothing."""
    return next((intent for intent in WriteIntent if intent.value == written), WriteIntent.NONE)


def _entry_document(entry: LedgerEntry) -> dict[str, Any]:
    """As a merge patch: what a token paid for before must not stay below a request that costs none."""
    nic = {"nic": entry.nic} if entry.nic else {}
    intent = None if entry.write_intent is WriteIntent.NONE else entry.write_intent.value
    return {"count": entry.count, "requestID": entry.request_id, **nic, "writeIntent": intent}


def _tokens(written: object) -> Tokens | None:
    document = mapping(written)
    time_s = seconds_of(document.get("time"))
    if time_s is None:
        return None
    tokens = real(document.get("tokens"), least=0.0, most=MOST_WRITES_PER_MINUTE, default=0.0)
    return Tokens(tokens, time_s, pace=real(document.get("pace"), least=0.0, most=1.0, default=1.0))
