"""Something else in the place of each file that the agent has on a node: a directory, a FIFO, a link.

Nothing of it may hang the agent, end it without words, or have it write through a link.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from azure_cni.cni.conflist import PORTMAP
from azure_cni.errors import AzureCniError
from azure_cni.host.files import WholeFile
from azure_cni.host.install import CONFLIST, HostPlugin
from azure_cni.host.ledger_store import SqliteLedgerStore
from azure_cni.host.run_directory import MARK, Released, ServedMark, make_private
from azure_cni.ipam.ledger import Change
from fakes.waiting import PATIENCE_S, no_longer_than

CONTENT = "somebody else's"


class Node:
    """The agent's directories, and a file of somebody else's."""

    def __init__(self, root: Path) -> None:
        self.run, self.bin, self.conf = (root / name for name in ("run", "bin", "conf"))
        for directory in (self.run, self.bin, self.conf):
            directory.mkdir()
        (root / "source").write_text("the binary")
        self.elsewhere = root / "elsewhere"
        self.elsewhere.write_text(CONTENT)
        self.elsewhere.chmod(0o640)
        self.directory = root / "directory"
        for directory in (self.directory, self.directory / "bad"):
            directory.mkdir()
            directory.chmod(0o755)
        self.plugin = HostPlugin(root / "source", self.bin, self.conf)


def as_directory(path: Path, _: Node) -> None:
    path.mkdir()
    (path / "in it").write_text("x")


def as_fifo(path: Path, _: Node) -> None:
    os.mkfifo(path)


def as_link(path: Path, node: Node) -> None:
    path.symlink_to(node.elsewhere)


def as_link_to_a_directory(path: Path, node: Node) -> None:
    path.symlink_to(node.directory)


def as_loop(path: Path, _: Node) -> None:
    path.symlink_to(path)


def as_link_to_nothing(path: Path, node: Node) -> None:
    path.symlink_to(node.run / "no" / "such")


def as_file(path: Path, _: Node) -> None:
    path.write_text("x")


THINGS = (as_directory, as_fifo, as_link, as_link_to_a_directory, as_loop, as_link_to_nothing, as_file)


def carry_out_releases(node: Node) -> None:
    released = Released(node.run / "released")
    records = released.read(released.names())
    assert not records.pending


def mark(node: Node) -> None:
    ServedMark(node.run).set()
    ServedMark(node.run).clear()


def open_ledger(node: Node) -> None:
    with SqliteLedgerStore(node.run / "ledger.sqlite", wait_s=0.0) as store:
        store.load()
        store.save(Change())


def install(node: Node) -> None:
    node.plugin.install_binary()
    node.plugin.activate("{}")
    node.plugin.conflicts()
    node.plugin.signature(["portmap"])


def withdraw(node: Node) -> None:
    node.plugin.missing(PORTMAP)
    node.plugin.unseen("portmap")
    node.plugin.withdraw()


def keep_state(node: Node) -> None:
    state = WholeFile(node.run / "docker-networks.json")
    assert refusal(lambda _: state.read(), node) or state.read() in {None, b"x", b"new", CONTENT.encode()}
    state.write(b"new")
    assert state.read() == b"new"


USES: dict[str, tuple[Callable[[Node], Path], Callable[[Node], None]]] = {
    "the directory of releases": (lambda node: node.run / "released", carry_out_releases),
    "a release": (lambda node: _in(node.run / "released", "a.json"), carry_out_releases),
    "the place of bad releases": (lambda node: _in(node.run / "released", "bad"), carry_out_releases),
    "the ledger": (lambda node: node.run / "ledger.sqlite", open_ledger),
    "the ledger's journal": (lambda node: node.run / "ledger.sqlite-journal", open_ledger),
    "a state file": (lambda node: node.run / "docker-networks.json", keep_state),
    "the mark": (lambda node: node.run / MARK, mark),
    "the binary": (lambda node: node.bin / "azure-cni", install),
    "the conflist": (lambda node: node.conf / CONFLIST, install),
    "the conflist, to be withdrawn": (lambda node: node.conf / CONFLIST, withdraw),
    "a file that was being written": (lambda node: node.conf / f".{CONFLIST}.x.tmp", install),
    "another configuration": (lambda node: node.conf / "00-first.conflist", install),
    "the plugin portmap": (lambda node: node.bin / "portmap", withdraw),
}


def _in(directory: Path, name: str) -> Path:
    directory.mkdir()
    (directory / "bad.json").write_text("{")
    return directory / name


@pytest.mark.parametrize("thing", THINGS)
@pytest.mark.parametrize("use", USES)
def test_whatever_stands_there_is_repaired_or_reported(
    tmp_path: Path, use: str, thing: Callable[[Path, Node], None]
) -> None:
    node = Node(tmp_path)
    where, act = USES[use]
    thing(where(node), node)
    with no_longer_than(PATIENCE_S):
        make_private(node.run)
        for _ in range(2):
            words = refusal(act, node)
            assert not words or (words.startswith("cannot ") and str(tmp_path) in words)
    assert node.elsewhere.read_text() == CONTENT
    assert [stat.S_IMODE(path.stat().st_mode) for path in (node.elsewhere, node.directory, node.directory / "bad")] == [
        0o640,
        0o755,
        0o755,
    ]
    assert [path.name for path in node.directory.iterdir()] == ["bad"]


def refusal(act: Callable[[Node], None], node: Node) -> str:
    """The words of the error that comes of it; "" when none does."""
    try:
        act(node)
    except AzureCniError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("thing", THINGS)
def test_the_binary_and_the_conflist_come_back_over_all_but_a_directory(
    tmp_path: Path, thing: Callable[[Path, Node], None]
) -> None:
    node = Node(tmp_path)
    for path in (node.plugin.binary, node.plugin.conflist):
        thing(path, node)
    if thing is as_directory:
        with pytest.raises(AzureCniError, match=r"cannot install the plugin binary .*azure-cni: Is a directory"):
            install(node)
        return
    install(node)
    assert (node.plugin.binary.read_text(), node.plugin.conflist.read_text()) == ("the binary", "{}")
    assert not node.plugin.binary.is_symlink()
