"""How many addresses each node should have, by what it asks for, its blocks, and what is being taken back. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from azure_cni.api.vnet_quota import LedgerEntry
from azure_cni.quota.fair_share import ShareRequest, fair_shares
from azure_cni.quota.node_record import NodeRecord


def node_shares(
    nodes: Sequence[NodeRecord],
    requests: Sequence[ShareRequest],
    *,
    room: int,
    coming: int,
    slowed: Collection[str],
) -> list[int]:
    """Fair shares of what there is, and for pods of what there will be.

    What is taken back comes a few addresses at a time. Shared among all that starve, each time, it would cost each of
    them a write of its NIC for one address or two. So a node may have in its turn what will be its share in the end,
    as far as there is room for it now. A node that Azure asked to wait is granted nothing more now, so it keeps no room
    from others.
    """
    left = max(0, room - sum(request.granted for request in requests)) + coming
    requests = _in_whole_blocks(nodes, requests, left=left)
    shares = fair_shares(requests, room)
    able = [
        replace(request, needed=request.granted, requested=request.granted) if node.name in slowed else request
        for node, request in zip(nodes, requests, strict=True)
    ]
    found = fair_shares(able, room) if slowed else shares
    if coming:
        in_the_end = fair_shares([replace(one, requested=one.needed) for one in able], room + coming)
        found = list(map(max, found, in_the_end))
    rows = zip(nodes, shares, found, strict=True)
    return [share if node.name in slowed else others for node, share, others in rows]


def _in_whole_blocks(nodes: Sequence[NodeRecord], requests: Sequence[ShareRequest], *, left: int) -> list[ShareRequest]:
    """Nodes of blocks ask for no more than the whole blocks that `left` addresses are: a part of one would stay their
    share, of no use to them, while nodes of single addresses wait for it.
    """

    def fitting(node: NodeRecord, request: ShareRequest) -> ShareRequest:
        most = max(request.granted, node.usable(request.granted + left))
        return replace(request, needed=min(request.needed, most), requested=min(request.requested, most))

    return [
        fitting(node, request) if node.by_blocks else request for node, request in zip(nodes, requests, strict=True)
    ]


def share_request(limit: int, node: NodeRecord, entry: LedgerEntry) -> ShareRequest:
    """What a node should have. A node whose agent has not written yet keeps what it has."""
    if not node.view.request.number:
        return ShareRequest(entry.count, entry.count, entry.count)
    requested = min(node.view.request.count, limit)
    needed = min(requested, node.in_blocks(node.view.allocated + node.waiting))
    return ShareRequest(granted=entry.count, needed=needed, requested=requested)
