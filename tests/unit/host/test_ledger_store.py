"""The ledger's file: what happens to it when it is broken, foreign, shared, or its writer is killed."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from azure_cni.errors import LedgerError
from azure_cni.host.ledger_store import SCHEMA_VERSION, SqliteLedgerStore
from azure_cni.ipam.ledger import Change, Holder, Ledger, LinkParameters, Sandbox, Slot, State
from unit.ipam.views import address, config

OLDER = {schema: Path(__file__).parent / "ledgers" / f"schema-{schema}.sqlite" for schema in (1, 2, 3)}
"""As the agents of older schemas wrote them: a pod, a container without a pod, and an address in each other state. In
those from schema 2 on the pod has a second interface, whose address is excluded."""
POD = Holder(
    Sandbox("", "4f1c9a2be07d35c86ab1f2d3e4c5b6a7980f1e2d3c4b5a69788796a5b4c3d2e1", "eth0"),
    "/var/run/netns/cni-6a1f0c2e",
    "default",
    "web-0",
    "0d9c1f7e-5b2a-4c83-9e64-7f10a2b3c4d5",
)

OPERATOR = Path(__file__).parents[3] / "operator"

WRITER = """
import sys
from ipaddress import IPv4Address
from pathlib import Path
from azure_cni.host.ledger_store import SqliteLedgerStore
from azure_cni.ipam.ledger import Change, Slot, State

store = SqliteLedgerStore(Path(sys.argv[1]))
first = max((int(slot.since_s) for slot in store.load()), default=0) + 1
for turn in range(first, first + 100_000):
    slots = tuple(Slot(IPv4Address(n), "name" * 50, State.FREE, float(turn)) for n in range(turn % 2, 200, 2))
    store.save(Change(put=slots, drop=tuple(IPv4Address(n) for n in range(1 - turn % 2, 200, 2))))
    print(turn, flush=True)
"""
"""Each change replaces a hundred slots by a hundred others, so half of one would be seen."""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite"


def written(path: Path) -> None:
    with SqliteLedgerStore(path) as store:
        store.save(Change(put=(Slot(address(1), config(1).name, State.FREE, 1.0),)))


def edited(path: Path, statement: str) -> None:
    with sqlite3.connect(path, isolation_level=None) as db:
        db.execute("PRAGMA ignore_check_constraints = ON")
        db.execute(statement)
    db.close()


def test_a_writer_killed_at_any_moment_leaves_whole_changes_and_all_that_it_reported(path):
    reported = 0
    for attempt in range(24):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(OPERATOR)},
        )
        with writer:
            if attempt:  # the first may die before it has opened the file
                reported = int(writer.stdout.readline())
                time.sleep(attempt * 0.0002)  # a turn takes about 2 ms: so that each part of one is met
            writer.send_signal(signal.SIGKILL)
            for line in writer.stdout:
                if line.endswith("\n"):
                    reported = int(line)
        assert writer.returncode == -signal.SIGKILL
        with SqliteLedgerStore(path) as store:
            slots = store.load()
        turns = {int(slot.since_s) for slot in slots}
        assert len(turns) == (1 if reported or slots else 0)
        for turn in turns:
            assert turn in {reported, reported + 1}  # it may have died between writing and reporting
            assert {int(slot.address) for slot in slots} == set(range(turn % 2, 200, 2))


@pytest.mark.parametrize(
    "content", [b"this is not a database, and longer than its header" * 9, b"SQLite format 3\0" * 99]
)
def test_a_file_that_is_no_database_is_left_as_it_is(path, content):
    path.write_bytes(content)
    with pytest.raises(LedgerError, match=r"cannot open the ledger .*: file is not a database\. Pods that run keep"):
        SqliteLedgerStore(path)
    assert path.read_bytes() == content


def test_damage_anywhere_says_what_to_do(path):
    with SqliteLedgerStore(path) as store:
        store.save(Change(put=tuple(Slot(address(n), config(n).name, State.FREE, 1.0) for n in range(250))))
    whole = path.read_bytes()
    page = 4096
    assert len(whole) > 4 * page
    for start in range(page, len(whole), page):  # whatever is on them
        path.write_bytes(whole[:start] + b"\xa5" * page + whole[start + page :])
        words = r"cannot (open|read) the ledger .* drain the node, remove .*ledger\.sqlite\*, and restart"
        with pytest.raises(LedgerError, match=words), SqliteLedgerStore(path) as store:
            store.load()
    path.write_bytes(whole)
    with SqliteLedgerStore(path) as store:
        assert len(store.load()) == 250


def test_no_flipped_bytes_are_more_than_an_error_in_words(path):
    with SqliteLedgerStore(path) as store:
        store.save(Change(put=tuple(Slot(address(n), config(n).name, State.FREE, 1.0) for n in range(250))))
    whole, chance, refused = path.read_bytes(), Random(1), 0
    for _ in range(200):
        flipped = bytearray(whole)
        for _ in range(chance.choice((1, 3, 20))):
            flipped[chance.randrange(len(flipped))] = chance.randrange(256)
        path.write_bytes(flipped)
        try:
            with SqliteLedgerStore(path, wait_s=0.1) as store:
                store.load()
        except LedgerError:
            refused += 1
    assert refused > 50


def test_what_a_newer_version_wrote_is_left_alone(path):
    written(path)
    edited(path, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(LedgerError, match=r"a newer azure-cni wrote it \(schema 5, known here 4\)"):
        SqliteLedgerStore(path)
    edited(path, f"PRAGMA user_version = {SCHEMA_VERSION}")
    with SqliteLedgerStore(path) as store:
        assert len(store.load()) == 1


@pytest.mark.parametrize("schema", OLDER)
def test_a_file_of_an_older_schema_is_brought_to_this_one_in_place(path, schema):
    shutil.copy(OLDER[schema], path)
    link = None if schema == 1 else LinkParameters(1500, address(4))
    for _ in range(2):
        with SqliteLedgerStore(path) as store:
            slots = {slot.config: slot for slot in store.load()}
        pod, bare = slots["azure-cni-5"], slots["azure-cni-6"]
        assert (pod.holder, pod.since_s, pod.link, pod.in_pool, pod.own_egress) == (POD, 11.5, link, True, False)
        assert (bare.holder, bare.on_nic) == (Holder(Sandbox("", "bare", "eth0"), "/run/netns/bare"), False)
        states = [slots[f"azure-cni-{number}"].state for number in (7, 8, 9, 10)]
        assert states == [State.FREE, State.COOLING, State.RELEASING, State.PROGRAMMING]
        assert len(slots) == (6 if schema == 1 else 7)
        assert len(Ledger(slots.values()).slots) == len(slots)
    given = replace(
        pod,
        holder=replace(POD, sandbox=POD.sandbox._replace(network="n")),
        link=LinkParameters(9000, address(4)),
        own_egress=True,
    )
    with SqliteLedgerStore(path) as store:
        store.save(Change(put=(given,)))
    with SqliteLedgerStore(path) as store:
        assert given in store.load()


def test_a_second_interface_and_an_excluded_address_are_brought_over_too(path):
    shutil.copy(OLDER[2], path)
    with SqliteLedgerStore(path) as store:
        second = next(slot for slot in store.load() if slot.config == "azure-cni-11")
    assert second.holder == replace(POD, sandbox=POD.sandbox._replace(ifname="net1"))
    assert (second.on_nic, second.excluded) == (True, True)


@pytest.mark.parametrize(
    ("schema", "in_the_way", "words"),
    [
        (1, "ALTER TABLE slots ADD COLUMN node_address TEXT", "duplicate column name: node_address"),
        (2, "ALTER TABLE slots DROP COLUMN mtu", "no such column: mtu"),
    ],
)
def test_a_migration_that_breaks_off_leaves_the_file_as_it_was(path, schema, in_the_way, words):
    shutil.copy(OLDER[schema], path)
    edited(path, in_the_way)  # so that a later step fails
    for _ in range(2):
        with pytest.raises(LedgerError, match=f"cannot open the ledger .*{words}"):
            SqliteLedgerStore(path)
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (schema,)
        assert db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall() == [("slots",)]
        assert not {"mtu", "family"} & {row[1] for row in db.execute("PRAGMA table_info(slots)")}
    db.close()


@pytest.mark.parametrize("schema", OLDER)
def test_a_migrated_file_has_the_table_of_a_new_one(path, tmp_path, schema):
    shutil.copy(OLDER[schema], path)
    tables = []
    for one in (path, tmp_path / "new.sqlite"):
        SqliteLedgerStore(one).close()
        with sqlite3.connect(one) as db:
            tables.append(db.execute("SELECT name, sql FROM sqlite_master").fetchall())
        db.close()
    assert tables[0] == tables[1]


@pytest.mark.parametrize("statement", ["CREATE TABLE notes (text)", "PRAGMA user_version = 1"])
def test_somebody_elses_database_is_left_alone(path, statement):
    edited(path, statement)
    with pytest.raises(LedgerError, match="it is not a ledger"):
        SqliteLedgerStore(path)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE slots SET state = 'resting'", "'resting' is not a valid State"),
        ("UPDATE slots SET family = 6", r"10\.240\.1\.1 is not of address family 6"),
        ("UPDATE slots SET address = '10.240.0.999'", r"10\.240\.0\.999"),
        ("UPDATE slots SET config = CAST(x'636166e9' AS TEXT)", "UTF-8"),
    ],
)
def test_a_row_that_makes_no_sense_is_not_passed_over(path, statement, words):
    written(path)
    edited(path, statement)
    with SqliteLedgerStore(path) as store, pytest.raises(LedgerError, match=words):
        store.load()


def test_a_second_agent_learns_of_the_first(path):
    words = "another process holds it; is an azure-cni agent still running"
    with SqliteLedgerStore(path), pytest.raises(LedgerError, match=words):
        SqliteLedgerStore(path, wait_s=0.0)
    SqliteLedgerStore(path, wait_s=0.0).close()


LOCKER = """
import fcntl, os, sys, time
shared = sys.argv[2] == "reader"
file = os.open(sys.argv[1], os.O_RDONLY if shared else os.O_RDWR)
fcntl.lockf(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, 512, 0x40000000)
fcntl.flock(file, fcntl.LOCK_SH)
print("locked", flush=True)
time.sleep(60)
"""
"""SQLite's lock bytes, as any process can lock them that has opened the file."""


@contextmanager
def locked(path: Path, how: str) -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", LOCKER, str(path), how], stdout=subprocess.PIPE) as locker:
        try:
            assert locker.stdout.readline() == b"locked\n"
            yield
        finally:
            locker.kill()


def test_a_reader_that_locks_the_file_stops_no_agent(path):
    written(path)
    with locked(path, "reader"):
        with SqliteLedgerStore(path, wait_s=0.0) as store:
            assert len(store.load()) == 1
            store.save(Change(put=(Slot(address(2), config(2).name, State.FREE, 1.0),)))
            with pytest.raises(LedgerError, match="another process holds it"):
                SqliteLedgerStore(path, wait_s=0.0)
        with SqliteLedgerStore(path, wait_s=0.0) as store:
            assert len(store.load()) == 2


def test_one_that_could_write_is_mistaken_for_an_agent(path):
    written(path)
    before = path.stat().st_ino
    with locked(path, "writer"), pytest.raises(LedgerError, match="another process holds it"):
        SqliteLedgerStore(path, wait_s=0.0)
    assert path.stat().st_ino == before


def test_the_file_is_for_root_alone_whatever_it_was(path):
    written(path)
    path.chmod(0o644)
    SqliteLedgerStore(path).close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_place_where_nothing_can_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match=r"cannot open the ledger .*file/ledger\.sqlite"):
        SqliteLedgerStore(tmp_path / "file" / "ledger.sqlite")
