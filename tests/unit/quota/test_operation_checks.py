"""What a write may leave on a NIC, in addresses."""

from dataclasses import replace

import pytest

from azure_cni.api.nic_operation import IdentityClaim, WriteNic
from azure_cni.api.node_ip_pool import PoolView, Request, WriteIntent
from azure_cni.api.vnet_quota import LedgerEntry, nic_label
from azure_cni.errors import AccessDenied, RequestRefused
from azure_cni.ipam.attachment_plan import admitted
from azure_cni.model.attachments import AttachedResource
from azure_cni.model.ipv6 import IPv6Configuration, IPv6Growth
from azure_cni.model.nic import AttachmentChange, ConfigName
from azure_cni.quota.operation_checks import refuse_attachments, refuse_beyond, refuse_unpaid
from unit.ipam.views import adopted, block, view

SEEN = view([1, adopted(2), block(16)])  # 18 addresses


@pytest.mark.parametrize(
    ("add", "remove", "granted", "refused"),
    [(2, (), 20, False), (3, (), 20, True), (18, (block(16).name,), 20, False), (19, (block(16).name,), 20, True)],
)
def test_a_configuration_counts_as_what_it_holds(add, remove, granted, refused):
    operation = WriteNic(
        IdentityClaim("vm", "/vm", macs=()), SEEN.nic_id, SEEN.etag, add=add, remove=remove, grant_number=7
    )
    pool = PoolView(Request(count=granted, number=7), granted=granted, granted_for=7, allocated=18)
    entry = LedgerEntry(granted, 7, write_intent=WriteIntent.GROW)
    if not refused:
        refuse_beyond(operation, SEEN, pool, entry, node="n")
        return
    with pytest.raises(AccessDenied, match="it would hold 21 addresses and may hold 20"):
        refuse_beyond(operation, SEEN, pool, entry, node="n")


GROUP = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network"
WEB, OTHER = (
    AttachedResource.parse(f"{GROUP}/loadBalancers/lb/backendAddressPools/{name}") for name in ("web", "other")
)


def attaching(*, add=(), remove=()) -> WriteNic:
    change = AttachmentChange(SEEN.secondaries[0].name, frozenset(add), frozenset(remove))
    return WriteNic(IdentityClaim("vm", "/vm", macs=()), SEEN.nic_id, SEEN.etag, 0, (), 7, (change,))


def test_only_what_the_values_list_is_attached_and_anything_may_be_removed():
    refuse_attachments(attaching(add=[WEB], remove=[OTHER]), frozenset({WEB}), node="n")
    for allowed in (frozenset(), frozenset({WEB})):
        with pytest.raises(AccessDenied, match=r"podNetworking\.allowed does not list the load balancer pool lb/other"):
            refuse_attachments(attaching(add=[OTHER]), allowed, node="n")


@pytest.mark.parametrize("intent", [intent for intent in WriteIntent if intent is not WriteIntent.ATTACH])
def test_a_grant_for_something_else_pays_for_no_attachment(intent):
    entry = LedgerEntry(20, 7, nic_label(SEEN.nic_id), write_intent=intent)
    with pytest.raises(AccessDenied, match="the operation is to Attach"):
        refuse_unpaid(attaching(add=[WEB]), entry, own=SEEN.nic_id, node="n")


def test_a_configuration_with_something_of_others_attached_is_not_removed():
    theirs = replace(SEEN.secondaries[0], attached=frozenset({OTHER}))
    seen = admitted(replace(SEEN, configs=(SEEN.primary, theirs)), frozenset({WEB}))
    operation = replace(attaching(), attach=(), remove=(theirs.name,))
    pool = PoolView(Request(count=20, number=7), granted=20, granted_for=7, allocated=18)
    with pytest.raises(RequestRefused, match="azure-cni did not make"):
        refuse_beyond(operation, seen, pool, LedgerEntry(20, 7), node="n")


@pytest.mark.parametrize("unlisted", [0, 1, 16])
def test_what_a_node_attached_before_it_was_unlisted_makes_no_room_for_more(unlisted):
    """A node with another's agent: 16 addresses granted, all in a listed pool, which the values then list no more."""
    full = view(range(1, 17))
    holding = [
        replace(config, attached=frozenset({OTHER} if number < unlisted else ()))
        for number, config in enumerate(full.secondaries)
    ]
    seen = admitted(replace(full, configs=(full.primary, *holding)), frozenset({WEB}))
    assert seen.held == 16 - unlisted
    pool = PoolView(Request(count=16, number=7), granted=16, granted_for=7, allocated=0)
    operation = replace(attaching(), attach=(), add=1)
    with pytest.raises(AccessDenied, match="it would hold 17 addresses and may hold 16"):
        refuse_beyond(operation, seen, pool, LedgerEntry(16, 7), node="n")
    pool = replace(pool, request=Request(count=17, number=7), granted=17)
    refuse_beyond(operation, seen, pool, LedgerEntry(17, 7), node="n")


@pytest.mark.parametrize(("ipv6", "refused"), [(IPv6Growth(singles=18), False), (IPv6Growth(singles=19), True)])
def test_no_more_single_ipv6_addresses_than_those_of_ipv4(ipv6, refused):
    operation = replace(attaching(), attach=(), ipv6=ipv6)
    pool = PoolView(Request(count=18, number=7), granted=18, granted_for=7, allocated=18)
    if not refused:
        refuse_beyond(operation, SEEN, pool, LedgerEntry(18, 7), node="n")
        return
    with pytest.raises(AccessDenied, match="it would hold 19 IPv6 addresses beside 18 of IPv4"):
        refuse_beyond(operation, SEEN, pool, LedgerEntry(18, 7), node="n")


def test_new_addresses_come_with_those_of_ipv6_beside_pods_that_lost_theirs_of_ipv4():
    there = tuple(IPv6Configuration(ConfigName(f"v6-{n}"), None, ready=True) for n in range(30))
    pool = PoolView(Request(count=22, number=7), granted=22, granted_for=7, allocated=18)
    seen, operation = replace(SEEN, ipv6=there), replace(attaching(), attach=(), add=4, ipv6=IPv6Growth(singles=4))
    refuse_beyond(operation, seen, pool, LedgerEntry(22, 7), node="n")
    with pytest.raises(AccessDenied, match="35 IPv6 addresses beside 22 of IPv4"):
        refuse_beyond(replace(operation, ipv6=IPv6Growth(singles=5)), seen, pool, LedgerEntry(22, 7), node="n")


def test_those_that_leave_make_room_for_others():
    there = tuple(IPv6Configuration(ConfigName(f"v6-{n}"), None, ready=False) for n in range(18))
    pool = PoolView(Request(count=18, number=7), granted=18, granted_for=7, allocated=18)
    seen, operation = replace(SEEN, ipv6=there), replace(attaching(), attach=(), ipv6=IPv6Growth(singles=1))
    with pytest.raises(AccessDenied, match="19 IPv6 addresses"):
        refuse_beyond(operation, seen, pool, LedgerEntry(18, 7), node="n")
    refuse_beyond(replace(operation, remove=(there[0].name,)), seen, pool, LedgerEntry(18, 7), node="n")
