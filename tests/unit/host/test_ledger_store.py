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
from azure_cni.ipam.ledger import Change, Holder, LinkParameters, Sandbox, Slot, State
from unit.ipam.views import address, config

SCHEMA_1 = Path(__file__).parent / "ledgers" / "schema-1.sqlite"
"""As the agent of schema 1 wrote it: a pod, a container without a pod, and an address in each other state."""

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
    for start in range(page, len(whole), page):  # of the table, and of its index, which a mere reading does not touch
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
    with pytest.raises(LedgerError, match=r"a newer azure-cni wrote it \(schema 3, known here 2\)"):
        SqliteLedgerStore(path)
    edited(path, f"PRAGMA user_version = {SCHEMA_VERSION}")
    with SqliteLedgerStore(path) as store:
        assert len(store.load()) == 1


def test_a_file_of_schema_1_is_brought_to_this_one_in_place(path):
    shutil.copy(SCHEMA_1, path)
    pod = Holder(
        Sandbox("4f1c9a2be07d35c86ab1f2d3e4c5b6a7980f1e2d3c4b5a69788796a5b4c3d2e1", "eth0"),
        "/var/run/netns/cni-6a1f0c2e",
        "default",
        "web-0",
        "0d9c1f7e-5b2a-4c83-9e64-7f10a2b3c4d5",
    )
    states = {5: State.ASSIGNED, 6: State.ASSIGNED, 7: State.FREE, 8: State.COOLING, 9: State.RELEASING}
    states[10] = State.PROGRAMMING
    for _ in range(2):
        with SqliteLedgerStore(path) as store:
            slots = {int(slot.address) & 0xFF: slot for slot in store.load()}
            assert {number: slot.state for number, slot in slots.items()} == states
            assert (slots[5].holder, slots[5].since_s, slots[5].config, slots[5].link) == (
                pod,
                11.5,
                "azure-cni-5",
                None,
            )
            assert (slots[6].holder, slots[6].on_nic) == (Holder(Sandbox("bare", "eth0"), "/run/netns/bare"), False)
    given = replace(slots[5], link=LinkParameters(1500, address(4)))
    with SqliteLedgerStore(path) as store:
        store.save(Change(put=(given,)))
    with SqliteLedgerStore(path) as store:
        assert given in store.load()


def test_a_migration_that_breaks_off_leaves_the_file_as_it_was(path):
    shutil.copy(SCHEMA_1, path)
    edited(path, "ALTER TABLE slots ADD COLUMN node_address TEXT")  # so that the second step fails
    for _ in range(2):
        with pytest.raises(LedgerError, match=r"cannot open the ledger .*duplicate column name: node_address"):
            SqliteLedgerStore(path)
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert "mtu" not in [row[1] for row in db.execute("PRAGMA table_info(slots)")]
    db.close()


def test_a_migrated_file_has_the_columns_of_a_new_one(path, tmp_path):
    shutil.copy(SCHEMA_1, path)
    columns = []
    for one in (path, tmp_path / "new.sqlite"):
        SqliteLedgerStore(one).close()
        with sqlite3.connect(one) as db:
            columns.append(db.execute("PRAGMA table_info(slots)").fetchall())
        db.close()
    assert columns[0] == columns[1]


@pytest.mark.parametrize("statement", ["CREATE TABLE notes (text)", "PRAGMA user_version = 1"])
def test_somebody_elses_database_is_left_alone(path, statement):
    edited(path, statement)
    with pytest.raises(LedgerError, match="it is not a ledger"):
        SqliteLedgerStore(path)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE slots SET state = 'resting'", "'resting' is not a valid State"),
        ("UPDATE slots SET address = '10.240.0.999'", r"10\.240\.0\.999"),
        ("UPDATE slots SET config = CAST(x'636166e9' AS TEXT)", "UTF-8"),
    ],
)
def test_a_row_that_makes_no_sense_is_not_passed_over(path, statement, words):
    written(path)
    edited(path, statement)
    with SqliteLedgerStore(path) as store, pytest.raises(LedgerError, match=words):
        store.load()


def test_a_second_agent_is_told_of_the_first(path):
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


def test_one_that_could_write_is_taken_for_an_agent(path):
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
