"""What others use of a VNet, where Azure's count and what nodes tell are not of one moment."""

from __future__ import annotations

from azure_cni.api.quota import LedgerEntry
from azure_cni.cluster.census import Census, Member
from azure_cni.cluster.outside import used_outside
from fakes.cluster import VNET, FakeCluster

OWN = 1
"""The address of a node itself."""


def member(name: str, *, holds: int, granted: int | None = None, wants: str = "Nothing", assigned: int = 0) -> Member:
    """A node that holds so many and was answered `granted`, for this write."""
    cluster, census = FakeCluster(), Census()
    may = holds if granted is None else granted
    cluster.node(name, requested=may, number=2, nic=name, allocated=holds, granted=may, grantedFor=2, wants=wants)
    cluster.pools.patch(name, {"status": {"vnetID": VNET, "assigned": assigned}})
    census.see(cluster.pools.objects[name], now_s=0.0)
    return next(iter(census))


def entries(**counts: int) -> dict[str, LedgerEntry]:
    return {name: LedgerEntry(count, 2, f"g/{name}") for name, count in counts.items()}


def test_at_rest_it_is_what_is_left_whatever_was_known():
    rest = [member("a", holds=16), member("b", holds=8)]
    for known in (None, 0, 7, 90):
        assert used_outside(16 + 8 + 2 * OWN + 5, rest, entries(a=16, b=8), known=known) == 5


def test_a_growth_under_way_changes_nothing_of_what_is_known_of_others():
    growing = [member("a", holds=8, granted=24, wants="Grow")]
    for landed in (8, 24):
        assert used_outside(landed + OWN + 3, growing, entries(a=24), known=3) == 3


def test_what_no_growth_can_explain_is_somebody_elses():
    growing = [member("a", holds=8, granted=24, wants="Grow")]
    assert used_outside(24 + OWN + 50, growing, entries(a=24), known=3) == 50
    assert used_outside(8 + OWN, growing, entries(a=24), known=3) == 0


def test_of_a_vnet_that_was_never_read_the_most_is_taken():
    assert used_outside(8 + OWN + 3, [member("a", holds=8, granted=24, wants="Grow")], entries(a=24), known=None) == 3


def test_a_release_under_way_changes_nothing_either():
    shrinking = [member("a", holds=24, wants="Release", assigned=2)]
    for left in (24, 8):
        assert used_outside(left + OWN + 3, shrinking, entries(a=24), known=3) == 3


def test_what_a_vanished_node_holds_is_not_others():
    assert used_outside(16 + OWN + 3, [], entries(gone=16), known=0) == 3
