"""What every ledger store promises, on the one in memory and on the one in a file."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from ipaddress import IPv6Address
from pathlib import Path

import pytest

from azure_cni.errors import LedgerError
from azure_cni.host.ledger_store import SqliteLedgerStore
from azure_cni.ipam.ledger import Change, LinkParameters, Sandbox, Slot, State
from azure_cni.model.identity import ModeName
from azure_cni.node.ports import LedgerStore
from fakes.ledger_store import FakeLedgerStore
from unit.ipam.views import address, config, holder

FREE = Slot(address(1), config(1).name, State.FREE, 12.5)
HELD = Slot(
    address(2),
    config(2).name,
    State.ASSIGNED,
    1e9 + 0.123456789,
    holder(2, netns="/run/netns/a", pod_namespace="shop", pod_name="wéb-0", pod_uid="u"),
    link=LinkParameters(9000, address(4), ModeName.BRIDGE),
    attached=True,
    attaching=True,
)
BARE = Slot(address(3), config(3, name="adopted").name, State.ASSIGNED, 0.0, holder(3), on_nic=False)
SERVING = Slot(address(4), config(4).name, State.ASSIGNED, 0.0, holder(4), excluded=True, attached=True)
SECOND = replace(HELD, address=address(5), config=config(5).name)
"""Of the sandbox that holds another address already."""
ELSEWHERE = Slot(address(6), config(6).name, State.ASSIGNED, 2.0, replace(holder(2), sandbox=Sandbox("", "c", "net1")))
DUAL = replace(HELD, address=address(7), config=config(7).name, ipv6=IPv6Address("fd00::1:107"))
FREE_DUAL = replace(FREE, address=address(8), config=config(8).name, ipv6=IPv6Address("fd00::1:108"))
OTHERS = tuple(
    Slot(address(10 + n), config(n).name, state, 1.0)
    for n, state in enumerate([State.PROGRAMMING, State.COOLING, State.RELEASING])
)


@pytest.fixture(params=["memory", "file"])
def restart(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], LedgerStore]]:
    """The store as the next agent on this node finds it."""
    if request.param == "memory":
        fake = FakeLedgerStore()
        yield lambda: fake
        return
    opened: list[SqliteLedgerStore] = []

    def reopen() -> SqliteLedgerStore:
        while opened:
            opened.pop().close()
        opened.append(SqliteLedgerStore(tmp_path / "run" / "ledger.sqlite", wait_s=0.0))
        return opened[-1]

    yield reopen
    for store in opened:
        store.close()


def kept(store: LedgerStore) -> set[Slot]:
    slots = list(store.load())
    assert len(set(slots)) == len(slots)
    return set(slots)


def test_a_fresh_one_is_empty(restart):
    assert kept(restart()) == set()


def test_every_kind_of_slot_comes_back_as_it_was(restart):
    restart().save(Change(put=(FREE, HELD, SECOND, BARE, ELSEWHERE, SERVING, DUAL, FREE_DUAL, *OTHERS)))
    assert kept(restart()) == {FREE, HELD, SECOND, BARE, ELSEWHERE, SERVING, DUAL, FREE_DUAL, *OTHERS}


def test_a_change_replaces_and_forgets(restart):
    store = restart()
    store.save(Change(put=(FREE, HELD)))
    cooling = replace(HELD, state=State.COOLING, holder=None)
    store.save(Change(put=(cooling, BARE), drop=(FREE.address,)))
    assert kept(store) == kept(restart()) == {cooling, BARE}


def test_an_address_that_is_not_there_may_be_forgotten(restart):
    store = restart()
    store.save(Change(drop=(FREE.address,)))
    assert kept(store) == set()


@pytest.mark.parametrize(
    "bad",
    [
        replace(FREE, address=address(9), holder=holder(9)),
        replace(HELD, address=address(9), holder=None),
    ],
    ids=["held but free", "assigned to nobody"],
)
def test_a_change_that_contradicts_the_ledger_is_refused_as_a_whole(restart, bad):
    store = restart()
    store.save(Change(put=(FREE, HELD)))
    with pytest.raises(LedgerError, match="cannot write the ledger"):
        store.save(Change(put=(BARE, bad), drop=(FREE.address,)))
    assert kept(store) == {FREE, HELD}
    store.save(Change(put=(BARE,)))
    assert kept(store) == kept(restart()) == {FREE, HELD, BARE}


def test_a_sandbox_may_move_to_another_address_in_one_change(restart):
    store = restart()
    store.save(Change(put=(HELD,)))
    moved = replace(HELD, address=address(9))
    store.save(Change(put=(moved,), drop=(HELD.address,)))
    assert kept(store) == {moved}


def test_an_agent_of_before_reads_it_by_another_name(tmp_path):
    """A rollback must leave nodes on which pods start: the file has the schema of the releases before."""
    path = tmp_path / "ledger.sqlite"
    with SqliteLedgerStore(path) as store:
        store.save(Change(put=(DUAL, FREE)))
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("PRAGMA user_version").fetchone() == (4,)
        found = dict(file.execute("SELECT address, config FROM slots"))
    assert found == {str(DUAL.address): f"{DUAL.config} fd00::1:107", str(FREE.address): FREE.config}
