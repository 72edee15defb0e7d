"""The longest that agents and controllers write into a NodeIPPool: a full NIC, everything on it as long as Azure's
limits let it be, and longer than that where something else than Azure could answer.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from azure_cni.api import conditions, node_ip_pool, pool_entries
from azure_cni.api.nic_operation import (
    Identify,
    NicOperation,
    OperationFailure,
    OperationResult,
    SetSecurityGroups,
    WriteNic,
)
from azure_cni.api.nic_operation_codec import operation_document
from azure_cni.api.operation_result_codec import result_document
from azure_cni.errors import AccessDenied, Throttled
from azure_cni.ipam.attachment_plan import in_one_write
from azure_cni.model.attachments import AttachedResource
from azure_cni.model.identity import MAX_ATTESTED_DOCUMENT, IdentityClaim, NodeIdentity, VNetView
from azure_cni.model.nic import (
    MAX_CONFIGS_PER_NIC,
    MAX_SECURITY_GROUPS,
    AttachmentChange,
    ConfigName,
    ExcludedConfiguration,
    IPConfiguration,
    NicID,
    NicView,
    SubnetID,
    VNetID,
)
from azure_cni.node.pool.pool_state import LastRead, LastWrite
from azure_cni.quota.messages import Explanation

NOW = "2026-11-29T03:00:00Z"
GROUP = f"/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/{'g' * 90}"
NETWORK = f"{GROUP}/providers/Microsoft.Network"
ADDRESS = IPv4Address("255.255.254.0")
WORDS = "no <b>more</b> & \u2028 größer \U0001f600 " * 4000
NIC_ID = f"{NETWORK}/networkInterfaces/{'n' * 80}"
VNET_ID = f"{NETWORK}/virtualNetworks/{'v' * 80}"
VM_ID = f"{GROUP}/providers/Microsoft.Compute/virtualMachineScaleSets/{'s' * 64}/virtualMachines/{'1' * 10}"
ETAG = f'W/"{"0" * 36}"'


def balancer_pool(number: int) -> AttachedResource:
    """One with the longest ID that Azure lets it have."""
    found = AttachedResource.parse(f"{NETWORK}/loadBalancers/{number:080d}/backendAddressPools/{number:080d}")
    assert found is not None
    return found


IDENTITY = NodeIdentity(
    "0" * 36,
    VM_ID,
    NicID(NIC_ID),
    SubnetID(f"{VNET_ID}/subnets/{'s' * 80}"),
    VNetID(VNET_ID),
    "00:0d:3a:1b:c7:21",
    ADDRESS,
)
CLAIM = IdentityClaim(IDENTITY.vm_id, VM_ID, (IDENTITY.mac,) * 15)
GROUPS = tuple(f"{NETWORK}/applicationSecurityGroups/{number:080d}" for number in range(MAX_SECURITY_GROUPS))
NAMES = tuple(ConfigName(f"azure-cni-{number:08d}") for number in range(MAX_CONFIGS_PER_NIC))
CONFIGS = tuple(
    IPConfiguration(name, ADDRESS + number, primary=not number, ready=False, static=True)
    for number, name in enumerate(NAMES)
)
ATTACHED = tuple(replace(config, attached=frozenset({balancer_pool(number)})) for number, config in enumerate(CONFIGS))
CROWDED = tuple(replace(config, attached=frozenset(map(balancer_pool, range(40)))) for config in CONFIGS)
EXCLUDED = tuple(ExcludedConfiguration("n" * 80, ADDRESS + number, WORDS) for number in range(MAX_CONFIGS_PER_NIC))
VIEW = NicView(NicID(NIC_ID), ETAG, settled=True, configs=CONFIGS, security_groups=GROUPS)
WRITE = WriteNic(CLAIM, NicID(NIC_ID), ETAG, MAX_CONFIGS_PER_NIC, NAMES, 2**52)


def swap(changes: int) -> tuple[AttachmentChange, ...]:
    """What one write takes of a change of everything: each configuration loses what it has, and gets something else."""
    wanted = (
        AttachmentChange(
            name,
            add=frozenset(map(balancer_pool, range(number, number + changes))),
            remove=frozenset(map(balancer_pool, range(number + 300, number + 300 + changes))),
        )
        for number, name in enumerate(NAMES)
    )
    return in_one_write(tuple(wanted))


OPERATIONS: tuple[NicOperation, ...] = (
    Identify(CLAIM, "A" * MAX_ATTESTED_DOCUMENT),
    WRITE,
    replace(WRITE, attach=tuple(AttachmentChange(it.name, it.attached) for it in ATTACHED)),
    replace(WRITE, attach=swap(1)),
    replace(WRITE, attach=swap(100)),
    SetSecurityGroups(CLAIM, NicID(NIC_ID), ETAG, GROUPS, 2**52),
)
RESULTS: tuple[OperationResult | OperationFailure, ...] = (
    IDENTITY,
    VNetView((IPv4Network("10.0.0.0/8"),) * 2000, tuple(IPv4Network((number << 9, 24)) for number in range(9000))),
    VIEW,
    replace(VIEW, configs=ATTACHED),
    replace(VIEW, configs=CROWDED[:128], excluded=EXCLUDED[:128]),
    replace(VIEW, configs=CONFIGS[:1], excluded=tuple(replace(it, attached=CROWDED[0].attached) for it in EXCLUDED)),
    AccessDenied(WORDS, action=WORDS, scope=WORDS, azure_code=WORDS),
    Throttled(WORDS, retry_after_s=1e300),
)


def statuses() -> list[dict[str, Any]]:
    """Each is one whole status; the agent's part is in all of them."""
    kinds = (conditions.Condition(kind, True, kind.value, WORDS) for kind in conditions.PoolKind)
    status: dict[str, Any] = {
        **pool_entries.identity_status(IDENTITY),
        **{name: value for name, value in Explanation("QuotaExceeded", WORDS, 1e9).status().items() if value},
        "throttledUntil": NOW,
        "lastRead": LastRead(NOW, node_ip_pool.parse(_asked(WORDS)).read_now).document(),
        "lastWrite": LastWrite(NOW, WORDS, 256, 256, "PreconditionFailed", "x" * 5000).document(),
        "vnetAddresses": [pool_entries.address_entry(ADDRESS, "n" * 80)] * MAX_CONFIGS_PER_NIC,
        "excluded": [pool_entries.excluded_entry(one) for one in EXCLUDED],
        "vnetAttachments": pool_entries.attached_entries(map(balancer_pool, range(2000))),
        "conditions": conditions.merge((), kinds, now=NOW, generation=2**53 - 1),
        "observedGeneration": 2**53 - 1,
    }
    documents = [{"nicOperation": operation_document(2**53 - 1, one)} for one in OPERATIONS]
    documents += [{"nicOperationResult": result_document(2**53 - 1, one, used_grant=2**52)} for one in RESULTS]
    return [status | document for document in documents]


def _asked(value: str) -> dict[str, Any]:
    return {"metadata": {"annotations": {node_ip_pool.READ_NOW: value}}}
