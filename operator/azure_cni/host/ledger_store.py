"""The ledger in a SQLite file on the node's /run: it outlives the agent and, like the sandboxes, not a reboot.

One row per slot, one transaction per change. What the file holds is never guessed or dropped: a file that cannot be
read, or that a newer version wrote, stops the agent with an explanation; running pods do not need it.

Whoever may read the file may also lock it, and must not keep an agent from starting: see `reader_locks`, for Linux. On
Windows the directory is for administrators alone, and the file is removed by the first agent after a reboot.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from azure_cni.errors import LedgerError
from azure_cni.host.run_directory import FILE_MODE
from azure_cni.ipam.ledger import Change, Holder, LinkParameters, Sandbox, Slot, State
from azure_cni.model.identity import ModeName
from azure_cni.model.nic import ConfigName
from azure_cni.model.text import legible

SCHEMA_VERSION: Final = 4
"""`user_version` of the file. A change of the table raises it and brings a step from the one before."""

_SCHEMA: Final = """
CREATE TABLE slots (
  address TEXT PRIMARY KEY,
  family INTEGER NOT NULL,
  config TEXT NOT NULL,
  state TEXT NOT NULL,
  since_s REAL NOT NULL,
  on_nic INTEGER NOT NULL,
  network TEXT,
  container_id TEXT,
  ifname TEXT,
  netns TEXT,
  pod_namespace TEXT,
  pod_name TEXT,
  pod_uid TEXT,
  mtu INTEGER,
  node_address TEXT,
  mode TEXT,
  own_egress INTEGER NOT NULL DEFAULT 0,
  CHECK (family IN (4, 6)),
  CHECK ((state = 'assigned') = (container_id IS NOT NULL AND ifname IS NOT NULL))
) STRICT, WITHOUT ROWID
"""

_OWN_EGRESS: Final = "  own_egress INTEGER NOT NULL DEFAULT 0,\n"
_SCHEMA_3: Final = _SCHEMA.replace(_OWN_EGRESS, "")

_STEPS: Final = {
    1: ("ALTER TABLE slots ADD COLUMN mtu INTEGER", "ALTER TABLE slots ADD COLUMN node_address TEXT"),
    2: (
        "ALTER TABLE slots RENAME TO slots_2",  # SQLite cannot take a UNIQUE constraint away from a table
        _SCHEMA_3,
        """
        INSERT INTO slots SELECT address, 4, config, state, since_s, on_nic, NULL, container_id, ifname, netns,
          pod_namespace, pod_name, pod_uid, mtu, node_address, NULL FROM slots_2
        """,
        "DROP TABLE slots_2",
    ),
    3: (
        "ALTER TABLE slots RENAME TO slots_3",
        _SCHEMA,
        "INSERT INTO slots SELECT *, 0 FROM slots_3",
        "DROP TABLE slots_3",
    ),
}
"""From each older schema to the next.

Up to schema 2 the network of a sandbox was not written down, and a sandbox had one address. Older rows have no
network; `Sandbox` says what that means. Nor have they a mode: there was `transparent` only. Up to schema 3 every pod
left the VNet with the node's address.
"""

_EXCLUDED, _ATTACHED, _ATTACHING = 2, 4, 8
"""`on_nic`: 0 where it is not on the NIC; else 1, or 2 where it is for no pod after its holder, 4 more where something
of its pod may be attached, and 8 more until that is known to work. After a downgrade all these are read as 1."""

_BOUND: Final = " "
"""`config`: the ipConfiguration's name, in dual stack with the IPv6 address that goes with this one behind it. Azure's
names have no spaces. After a downgrade it is another name, which the first read of the NIC puts right; what cools then
is free at once."""

_PUT: Final = """
INSERT INTO slots VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (address) DO UPDATE SET
  config = excluded.config, state = excluded.state, since_s = excluded.since_s, on_nic = excluded.on_nic,
  network = excluded.network, container_id = excluded.container_id, ifname = excluded.ifname, netns = excluded.netns,
  pod_namespace = excluded.pod_namespace, pod_name = excluded.pod_name, pod_uid = excluded.pod_uid,
  mtu = excluded.mtu, node_address = excluded.node_address, mode = excluded.mode, own_egress = excluded.own_egress
"""

_PRAGMAS: Final = (
    # One process, one connection: a second agent on this node fails instead of assigning the same addresses.
    "PRAGMA locking_mode = EXCLUSIVE",
    # To wait for a disk protects from the machine's end, and /run ends with the machine. From the process's own end
    # the rollback journal protects, which is the default and leaves one file: what was written stays written.
    "PRAGMA synchronous = OFF",
)

_WAIT_S: Final = 5.0
"""How long the previous agent may take to release the file."""


class _LedgerHeld(LedgerError):
    """Another process has a lock on the file."""


class SqliteLedgerStore:
    """The `LedgerStore` of an agent. To be used by the thread that opened it; LedgerError from every method."""

    def __init__(self, path: Path, *, wait_s: float = _WAIT_S) -> None:
        """Open the file, or make it. `wait_s`: how long another agent that holds it is waited for."""
        self._path = path
        with self._as_ledger_error("open"):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._open(wait_s)
        except _LedgerHeld:
            if os.name != "posix":
                raise
            from azure_cni.host import reader_locks

            with self._as_ledger_error("open"), reader_locks.one_at_a_time(path.parent):
                if reader_locks.written_by_another(path):
                    raise
                reader_locks.leave_readers_behind(path)
                self._open(0.0)

    def load(self) -> tuple[Slot, ...]:
        """All slots as last saved."""
        with self._as_ledger_error("read"):
            damage = [line for row in self._db.execute("PRAGMA quick_check") for line in row[0].splitlines()]
            rows = self._db.execute("SELECT * FROM slots").fetchall() if damage == ["ok"] else []
        if damage != ["ok"]:
            raise self._error("read", "; ".join(damage))
        try:
            return tuple(_slot(row) for row in rows)
        except ValueError as error:
            raise self._error("read", str(error)) from error

    def save(self, change: Change) -> None:
        """Write all of the change in one transaction, or nothing."""
        with self._as_ledger_error("write"), self._db:
            self._db.execute("BEGIN")
            self._db.executemany("DELETE FROM slots WHERE address = ?", ((str(address),) for address in change.drop))
            self._db.executemany(_PUT, (_row(slot) for slot in change.put))

    def close(self) -> None:
        """Let go of the file; it is whole without this too."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _open(self, wait_s: float) -> None:
        with self._as_ledger_error("open"):
            self._db = sqlite3.connect(self._path, timeout=wait_s, isolation_level=None)
        try:
            self._prepare()
            with self._as_ledger_error("open"):
                self._path.chmod(FILE_MODE)
        except BaseException:
            self._db.close()
            raise

    def _prepare(self) -> None:
        with self._as_ledger_error("open"):
            for pragma in _PRAGMAS:
                self._db.execute(pragma)
            with self._db:
                self._db.execute("BEGIN EXCLUSIVE")  # takes the lock, which this connection then keeps
                version = self._db.execute("PRAGMA user_version").fetchone()[0]
                tables = [row[0] for row in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
                if version == 0 and not tables:
                    self._db.execute(_SCHEMA)
                    self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                    return
                if version in _STEPS and tables == ["slots"]:
                    version = self._migrate(version)
        if version > SCHEMA_VERSION:
            raise self._error(
                "open",
                f"a newer azure-cni wrote it (schema {version}, known here {SCHEMA_VERSION}); install it again",
            )
        if version != SCHEMA_VERSION or tables != ["slots"]:
            raise self._error("open", f"it is not a ledger (schema {version}, tables {tables})")

    def _migrate(self, version: int) -> int:
        """Bring an older file to this schema, within the transaction that is open: wholly or not at all."""
        while version in _STEPS:
            for statement in _STEPS[version]:
                self._db.execute(statement)
            version += 1
        self._db.execute(f"PRAGMA user_version = {version}")
        return version

    @contextmanager
    def _as_ledger_error(self, what: str) -> Iterator[None]:
        """Raise the errors of SQLite and of the system as LedgerError."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:  # text that is not UTF-8 has no code
                raise _LedgerHeld(
                    f"cannot {what} the ledger {self._path}: another process holds it; "
                    "is an azure-cni agent still running on this node?"
                ) from error
            raise self._error(what, str(error)) from error
        except (sqlite3.Error, OSError, UnicodeError) as error:
            raise self._error(what, str(error)) from error

    def _error(self, what: str, why: str) -> LedgerError:
        return LedgerError(
            f"cannot {what} the ledger {self._path}: {legible(why).rstrip('.')}. Pods that run keep their "
            "addresses, but no pod gets one until this is solved; to start with a new ledger, drain the node, remove "
            f"{self._path}*, and restart the agent"
        )


def _row(slot: Slot) -> tuple[Any, ...]:
    config = slot.config if slot.ipv6 is None else f"{slot.config}{_BOUND}{slot.ipv6}"
    own = (str(slot.address), slot.address.version, config, slot.state.value, slot.since_s, _on_nic(slot))
    holder, link = slot.holder, slot.link
    given = (link.mtu, str(link.primary), link.mode.value) if link else (None, None, None)
    last = (*given, int(slot.own_egress))
    if holder is None:
        return *own, None, None, None, None, None, None, None, *last
    return *own, *holder.sandbox, holder.netns, holder.pod_namespace, holder.pod_name, holder.pod_uid, *last


def _slot(row: tuple[Any, ...]) -> Slot:
    address, family, config, state, since_s, on_nic, network, container_id, ifname, *pod = row[:-4]
    mtu, node_address, mode, own_egress = row[-4:]
    if IPv4Address(address).version != family:
        raise ValueError(f"{address} is not of address family {family}")
    sandbox = None if container_id is None else Sandbox(network or "", container_id, ifname)
    holder = None if sandbox is None else Holder(sandbox, *(text or "" for text in pod))
    link = None
    if mtu is not None and node_address is not None:
        link = LinkParameters(mtu, IPv4Address(node_address), ModeName(mode or ModeName.TRANSPARENT))
    name, ipv6 = _name_and_ipv6(config)
    return Slot(
        IPv4Address(address),
        name,
        State(state),
        since_s,
        holder,
        bool(on_nic),
        link,
        excluded=bool(on_nic & _EXCLUDED),
        attached=bool(on_nic & _ATTACHED),
        attaching=bool(on_nic & _ATTACHING),
        own_egress=bool(own_egress),
        ipv6=ipv6,
    )


def _name_and_ipv6(config: str) -> tuple[ConfigName, IPv6Address | None]:
    name, _, text = config.rpartition(_BOUND)
    return (ConfigName(name), IPv6Address(text)) if name and ":" in text else (ConfigName(config), None)


def _on_nic(slot: Slot) -> int:
    return slot.on_nic and (_EXCLUDED if slot.excluded else 1) + _ATTACHED * slot.attached + _ATTACHING * slot.attaching
