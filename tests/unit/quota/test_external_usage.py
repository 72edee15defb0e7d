"""What others use of a VNet, where Azure's count and what nodes report are not of one moment."""

from __future__ import annotations

from azure_cni.api.node_ip_pool import parse
from azure_cni.api.vnet_quota import LedgerEntry
from azure_cni.cluster.node_index import NodeIndex
from azure_cni.quota.external_usage import held_bounds, used_outside
from azure_cni.quota.node_record import NodeRecord
from fakes.cluster import VNET, FakeCluster

OWN = 1
"""The address of a node itself."""


def node(name: str, *, holds: int, granted: int | None = None, intent: str = "None", assigned: int = 0) -> NodeRecord:
    """A node that holds that many and was answered `granted`, for this write."""
    cluster, node_index = FakeCluster(), NodeIndex()
    may = holds if granted is None else granted
    cluster.node(
        name, requested=may, number=2, nic=name, allocated=holds, granted=may, grantedFor=2, writeIntent=intent
    )
    cluster.pools.patch(name, {"status": {"vnetID": VNET, "assigned": assigned}})
    node_index.see(parse(cluster.pools.objects[name]), now_s=0.0)
    return next(iter(node_index))


def entries(**counts: int) -> dict[str, LedgerEntry]:
    return {name: LedgerEntry(count, 2, f"g/{name}") for name, count in counts.items()}


def test_at_rest_it_is_what_is_left_whatever_was_known():
    rest = [node("a", holds=16), node("b", holds=8)]
    for known in (None, 0, 7, 90):
        assert used_outside(16 + 8 + 2 * OWN + 5, rest, entries(a=16, b=8), known=known) == 5


def test_a_growth_under_way_changes_nothing_of_what_is_known_of_others():
    growing = [node("a", holds=8, granted=24, intent="Grow")]
    for landed in (8, 24):
        assert used_outside(landed + OWN + 3, growing, entries(a=24), known=3) == 3


def test_what_no_growth_can_explain_is_somebody_elses():
    growing = [node("a", holds=8, granted=24, intent="Grow")]
    assert used_outside(24 + OWN + 50, growing, entries(a=24), known=3) == 50
    assert used_outside(8 + OWN, growing, entries(a=24), known=3) == 0


def test_of_a_vnet_that_was_never_read_the_most_is_taken():
    assert used_outside(8 + OWN + 3, [node("a", holds=8, granted=24, intent="Grow")], entries(a=24), known=None) == 3


def test_a_release_under_way_changes_nothing_either():
    shrinking = [node("a", holds=24, intent="Shrink", assigned=2)]
    for left in (24, 8):
        assert used_outside(left + OWN + 3, shrinking, entries(a=24), known=3) == 3


def test_what_a_vanished_node_holds_is_not_others():
    assert used_outside(16 + OWN + 3, [], entries(gone=16), known=0) == 3


def test_a_release_that_ends_while_azure_is_asked_is_nobody_elses_use():
    """Its eight addresses are in the count, and no longer in the pool when a round uses that."""
    before = held_bounds([node("a", holds=24, intent="Shrink", assigned=2)], entries(a=24))
    after = [node("a", holds=16)]
    for counted in (24, 16):
        assert used_outside(counted + OWN + 3, after, entries(a=16), known=3, before=before) == 3
    assert used_outside(24 + OWN + 3, after, entries(a=16), known=3) == 11, "what it was taken for without that"


def test_a_growth_that_ends_while_azure_is_asked_hides_nobody_elses_use():
    before = held_bounds([node("a", holds=8, granted=24, intent="Grow")], entries(a=24))
    after = [node("a", holds=24)]
    for counted in (8, 24):
        assert used_outside(counted + OWN + 30, after, entries(a=24), known=30, before=before) == 30
    assert used_outside(8 + OWN + 30, after, entries(a=24), known=30) == 14, "so many less would be left for others"


def test_a_node_that_is_reclaimed_while_azure_is_asked_is_nobody_elses_use():
    before = held_bounds([], entries(gone=16))
    for counted in (16 + OWN, 0):
        assert used_outside(counted + 3, [], {}, known=3, before=before) == 3


def test_what_neither_look_can_explain_is_somebody_elses():
    before = held_bounds([node("a", holds=24, intent="Shrink", assigned=2)], entries(a=24))
    assert used_outside(24 + OWN + 50, [node("a", holds=16)], entries(a=16), known=3, before=before) == 50
