"""Files that outlive their process: killed before each system call that changes something, what is there is the old or
the new, is read, and the same work done once more makes it whole.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

import pytest

from azure_cni.host.audit_files import AuditLimits, FileAuditStore
from azure_cni.host.files import WholeFile
from azure_cni.host.install import HostPlugin
from azure_cni.host.ledger_store import SCHEMA_VERSION, SqliteLedgerStore
from azure_cni.host.run_directory import Released, ServedMark, make_private
from azure_cni.ipam.address_state import Holder, Sandbox
from azure_cni.ipam.audit_records import AuditKind, AuditRecord
from azure_cni.ipam.ledger import Change, Slot, State
from azure_cni.model.nic import ConfigName
from bench.__main__ import build_plugin
from datapath.effects import NEEDS_SECCOMP, Child

pytestmark = NEEDS_SECCOMP

LEDGERS: Final = Path(__file__).parents[1] / "unit" / "host" / "ledgers"
HOLDER: Final = Holder(Sandbox("azure-cni", "c1", "eth0"), "/run/netns/p", "default", "web", "uid-web")
FREE: Final = tuple(
    Slot(IPv4Address(f"10.240.0.{n}"), ConfigName(f"azure-cni-{n}"), State.FREE, 1.0) for n in range(40)
)
HELD: Final = tuple(replace(one, state=State.ASSIGNED, holder=HOLDER) for one in FREE[:20])
OLD, NEW = b"old\n" * 1000, b"new\n" * 2000
AT: Final = "2026-11-28T06:00:00Z"


@dataclass(frozen=True)
class Work:
    """What a process does in a directory. `judge` raises where what is there would be of no use to the next process;
    it is asked after each kill and, `done`, once the work has been repeated.
    """

    name: str
    do: Callable[[Path], object]
    judge: Callable[[Path, bool], None]
    before: Callable[[Path], object] = lambda _: None

    def __str__(self) -> str:
        return self.name


def slots(directory: Path) -> set[Slot]:
    with SqliteLedgerStore(directory / "ledger.sqlite") as store:
        return set(store.load())


def save(*changed: Slot) -> Callable[[Path], None]:
    def work(directory: Path) -> None:
        with SqliteLedgerStore(directory / "ledger.sqlite") as store:
            store.save(Change(put=changed))

    return work


def one_of(*allowed: set[Slot]) -> Callable[[Path, bool], None]:
    """The ledger is one of these, and the last in the end."""

    def judge(directory: Path, done: bool) -> None:  # noqa: FBT001
        found = slots(directory)
        assert found in (allowed[-1:] if done else allowed)

    return judge


def migrated(schema: int) -> Work:
    source = LEDGERS / f"schema-{schema}.sqlite"

    def judge(directory: Path, _: bool) -> None:  # noqa: FBT001
        whole = directory / "whole"
        whole.mkdir(exist_ok=True)
        shutil.copy(source, whole / "ledger.sqlite")
        assert slots(directory) == slots(whole)
        assert len(slots(whole)) >= 4

    return Work(
        f"migration from schema {schema} to {SCHEMA_VERSION}",
        slots,
        judge,
        before=lambda directory: shutil.copy(source, directory / "ledger.sqlite"),
    )


def plugin(directory: Path) -> HostPlugin:
    return HostPlugin(directory / "source", directory / "bin", directory / "net.d")


def with_source(directory: Path) -> None:
    (directory / "source").write_bytes(NEW)
    for name in ("bin", "net.d"):
        (directory / name).mkdir()
    plugin(directory).binary.write_bytes(OLD)
    plugin(directory).binary.chmod(0o755)
    plugin(directory).conflist.write_bytes(OLD)


def install(directory: Path) -> None:
    plugin(directory).install_binary()
    plugin(directory).activate(NEW.decode())
    ServedMark(directory / "run").set()


def installed(directory: Path, done: bool) -> None:  # noqa: FBT001
    """Both files are whole and can be used, and nothing beside them looks like a plugin or a configuration."""
    at = plugin(directory)
    binary, conflist = at.binary.read_bytes(), at.conflist.read_bytes()
    assert {binary, conflist} <= {OLD, NEW}
    assert os.access(at.binary, os.X_OK)
    assert at.alone
    if done:
        assert (binary, conflist) == (NEW, NEW)
        assert sorted(path.name for path in at.bin_dir.iterdir()) == [at.binary.name]
        assert [path.name for path in at.conf_dir.iterdir()] == [at.conflist.name]
        assert (directory / "run" / "served").is_file()


def withdrawn(directory: Path, done: bool) -> None:  # noqa: FBT001
    conflist = plugin(directory).conflist
    assert not conflist.exists() if done else not conflist.exists() or conflist.read_bytes() == OLD


def written_whole(directory: Path, done: bool) -> None:  # noqa: FBT001
    content = WholeFile(directory / "state" / "networks.json").read()
    assert content == NEW if done else content in {OLD, NEW}


def audit(directory: Path) -> FileAuditStore:
    return FileAuditStore(AuditLimits(directory / "audit", most_bytes=1 << 20, longest_s=86_400.0 * 30))


def record(address: str) -> AuditRecord:
    return AuditRecord(time=AT, event=AuditKind.ASSIGNED.value, node="vm1", address=address, namespace="n", pod="web")


def audited(directory: Path, done: bool) -> None:  # noqa: FBT001
    """What was written before is there; what a kill cut off is a hole, and no error."""
    _, found = audit(directory).find("10.240.0.7")
    assert found[0] == record("10.240.0.7")
    if done:
        assert record("10.240.0.8") in audit(directory).find("10.240.0.8")[1]


def one_record(directory: Path) -> None:
    names = directory / "released"
    names.mkdir()
    body = {"containerID": "c1", "ifname": "eth0", "config": {"name": "azure-cni"}}
    (names / Released(names).name_of(HOLDER.sandbox)).write_text(json.dumps(body))


def acknowledge(directory: Path) -> None:
    records = Released(directory / "released")
    for pending in records.read(records.names()).pending:
        records.acknowledge(pending)


def records_read(directory: Path, done: bool) -> None:  # noqa: FBT001
    """Each is there and whole, or is not."""
    records = Released(directory / "released")
    found = records.read(records.names())
    assert not found.bad
    assert [one.sandbox for one in found.pending] in ([[]] if done else [[], [HOLDER.sandbox]])


WORKS: Final = (
    Work("a new ledger", slots, one_of(set())),
    Work("twenty addresses assigned", save(*HELD), one_of(set(FREE), {*HELD, *FREE[20:]}), before=save(*FREE)),
    *map(migrated, (1, 2, 3)),
    Work("binary, conflist and mark", install, installed, before=with_source),
    Work("conflist withdrawn", lambda directory: plugin(directory).withdraw(), withdrawn, before=with_source),
    Work(
        "Docker's networks",
        lambda directory: WholeFile(directory / "state" / "networks.json").write(NEW),
        written_whole,
        before=lambda directory: WholeFile(directory / "state" / "networks.json").write(OLD),
    ),
    Work(
        "audit trail",
        lambda directory: audit(directory).append([record("10.240.0.8")], held=[], until=AT),
        audited,
        before=lambda directory: audit(directory).append([record("10.240.0.7")], held=[], until=AT),
    ),
    Work("recorded DEL carried out", acknowledge, records_read, before=one_record),
    Work("modes of the directory", make_private, lambda *_: None, before=one_record),
)


def kill_everywhere(work: Work, directory: Path) -> list[str]:
    """At each of its effects; returns these."""

    def fresh(name: str) -> Path:
        place = directory / name
        place.mkdir()
        work.before(place)
        return place

    place = fresh("whole")
    whole = Child(lambda: work.do(place), directory / "log")
    assert whole.wait() == 0, (directory / "log").read_text()
    work.judge(place, True)
    for point, step in enumerate(whole.points):
        place = fresh(str(point))
        child = Child(lambda place=place: work.do(place), directory / "log", burns_at=point)  # type: ignore[misc]
        assert child.wait() < 0, f"{work} was not killed at step {point}: {step}"
        try:
            work.judge(place, False)
            work.do(place)
            work.judge(place, True)
        except Exception as error:
            raise AssertionError(f"{work}, killed before {child.killed_at} (step {point}): {error!r}") from error
    return whole.points


@pytest.mark.parametrize("work", WORKS, ids=str)
def test_killed_before_each_effect_the_old_or_the_new_is_there(work: Work, tmp_path: Path) -> None:
    points = kill_everywhere(work, tmp_path)
    assert points
    print(f"{work}: {len(points)} system calls, {len(points)} kills")


def test_the_binarys_record_of_a_del_is_whole_or_absent(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No agent answers; the runtime's next DEL writes the record that a kill prevented."""
    binary = build_plugin(tmp_path_factory.mktemp("plugin"))

    def run(directory: Path) -> None:
        config = {"cniVersion": "1.1.0", "name": "azure-cni", "type": "azure-cni", "socket": f"{directory}/cni.sock"}
        read, write = os.pipe()
        os.write(write, json.dumps(config).encode())
        os.close(write)
        os.dup2(read, 0)
        environment = {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0", "CNI_PATH": "/"}
        os.execve(binary, [str(binary)], environment)

    def in_child(directory: Path) -> None:
        """The binary replaces the process that runs it."""
        child = Child(lambda: run(directory), directory / "log")
        assert child.wait() == 0, (directory / "log").read_text()

    def judge(directory: Path, done: bool) -> None:  # noqa: FBT001
        records = Released(directory / "released")
        found = records.read(records.names())
        assert not found.bad
        assert [one.sandbox for one in found.pending] in ([[HOLDER.sandbox]] if done else [[], [HOLDER.sandbox]])

    work = Work("recorded DEL", in_child, judge, before=save(*HELD))
    place = tmp_path / "whole"
    place.mkdir()
    work.before(place)
    whole = Child(lambda: run(place), tmp_path / "log")
    assert whole.wait() == 0, (tmp_path / "log").read_text()
    judge(place, True)
    for point in range(len(whole.points)):
        place = tmp_path / str(point)
        place.mkdir()
        work.before(place)
        child = Child(lambda place=place: run(place), tmp_path / "log", burns_at=point)  # type: ignore[misc]
        assert child.wait() < 0
        judge(place, False)
        work.do(place)
        judge(place, True)
    print(f"recorded DEL by the binary: {len(whole.points)} system calls, {len(whole.points)} kills")


def test_a_descriptor_that_is_collected_meanwhile_does_not_hide_the_listener(tmp_path: Path) -> None:
    """What earlier tests left in cycles is freed at any time: the listener's number must be the one that was said."""

    class Left:
        def __init__(self) -> None:
            self.descriptor, self.itself = os.open("/dev/null", os.O_RDONLY), self

        def __del__(self) -> None:
            os.close(self.descriptor)

    before = gc.get_threshold()
    gc.collect()
    gc.disable()
    try:
        left, kept = [Left(), Left()], os.open("/dev/null", os.O_RDONLY)
        left.clear()
        gc.set_threshold(40)
        gc.enable()
        child = Child(lambda: (tmp_path / "done").write_text(""), tmp_path / "log")
        assert child.wait() == 0
        os.close(kept)
    finally:
        gc.enable()
        gc.set_threshold(*before)
