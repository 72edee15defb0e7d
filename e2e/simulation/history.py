"""What really happened, read from where it is kept: the fake ARM's log of changes, and etcd's revisions.

etcd shows every version of every object in order, also of those that were written while the API server was being
restarted; a watch of the API server may leave them out then. Shares no code with the product.
"""

import asyncio
import base64
import json
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TextIO

import aiohttp

from simulation.observer import Entry, Judge
from simulation.pace import Pace

PREFIX = "/registry/azure-cni.io/"
POLL_S = 0.15
NO_WRITE = "None"
"""What a request wants that is for no write."""
OF_INSTANCE = "instance.put"
"""How the fake counts a write of a scale set's instance, by which its NIC changes."""
GRACE_REAL_S = 1.0
"""How late an event may reach us on a busy machine."""


@dataclass(slots=True)
class Pool:
    """What a node's pool says, and when (simulated seconds) it first asked and last got something."""

    requested: int = 0
    request_id: int = 0
    granted: int = 0
    granted_for: int = 0
    allocated: int = 0
    assigned: int = 0
    reason: str = ""
    subnet_full: bool = False
    """Azure refuses it more, because the subnet has none."""
    asked_s: float | None = None
    served_s: float | None = None

    @property
    def settled(self) -> bool:
        """Its newest request is answered, and it has what it was given, or the subnet has no more."""
        has_all = self.allocated == min(self.requested, self.granted)
        return self.granted_for == self.request_id > 0 and (has_all or self.subnet_full)

    def see(self, at_s: float, status: dict[str, Any]) -> bool:
        """Take a version over; whether it answers a request for a write of the NIC."""
        allocated = int(status.get("allocated", 0))
        if allocated > self.allocated:
            self.served_s = at_s
        self.allocated = allocated
        self.requested, self.request_id = int(status.get("requested", 0)), int(status.get("requestID", 0))
        answered_before = self.granted_for
        self.granted, self.granted_for = int(status.get("granted", 0)), int(status.get("grantedFor", 0))
        conditions = {one["type"]: one["status"] for one in status.get("conditions", [])}
        self.subnet_full = conditions.get("SubnetFull") == "True"
        reason = status.get("grantReason") or ("SubnetFull" if self.subnet_full else "")
        self.assigned, self.reason = int(status.get("assigned", 0)), str(reason)
        if self.requested and self.asked_s is None:
            self.asked_s = at_s
        answers = self.granted_for == self.request_id and self.granted_for != answered_before
        return answers and status.get("writeIntent", NO_WRITE) != NO_WRITE


@dataclass(frozen=True, slots=True)
class Sample:
    """The sums at one time."""

    at_s: float
    granted: int
    on_nics: int
    allocated: int
    assigned: int
    writes: int


@dataclass(slots=True)
class History:
    """Filled while `follow` runs."""

    pace: Pace
    judge: Judge
    pools: dict[str, Pool] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)
    changes: int = 0
    writes: int = 0
    versions: int = 0
    outside: int = 0
    """What the quota says that others use."""
    ledger_log: TextIO | None = None
    last_change_s: float = 0.0
    """When a NIC was last changed."""

    async def follow(self, *, etcd_url: str, azure_socket: str) -> None:
        """Until cancelled."""
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as etcd,
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=azure_socket)) as azure,
            asyncio.TaskGroup() as tasks,
        ):
            revision = await _revision(etcd, etcd_url)
            tasks.create_task(self._follow_etcd(etcd, etcd_url, revision + 1))
            tasks.create_task(self._follow_azure(azure))

    async def _follow_etcd(self, etcd: aiohttp.ClientSession, url: str, revision: int) -> None:
        end = PREFIX[:-1] + chr(ord(PREFIX[-1]) + 1)
        wish = {"key": _text64(PREFIX), "range_end": _text64(end), "start_revision": revision}
        pending = b""
        async with etcd.post(f"{url}/v3/watch", json={"create_request": wish}) as response:
            async for chunk in response.content.iter_any():
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    for event in json.loads(line)["result"].get("events", ()):
                        self._object_changed(event)

    def _object_changed(self, event: dict[str, Any]) -> None:
        kind, _, name = base64.b64decode(event["kv"]["key"]).decode().removeprefix(PREFIX).partition("/")
        at_s = self.pace.elapsed_s()
        deleted = event.get("type") == "DELETE"
        body = {} if deleted else json.loads(base64.b64decode(event["kv"]["value"]))
        status = body.get("status") or {}
        self.versions += 1
        if kind == "nodeippools":
            if deleted:
                self.pools.pop(name, None)
            elif self.pools.setdefault(name, Pool()).see(at_s, status):
                self.judge.write_granted(at_s, _written(status.get("nicID", "")))
        elif kind == "vnetquotas":
            entries = {
                key: Entry(int(entry["count"]), str(entry.get("nic", "")))
                for key, entry in (status.get("grants") or {}).items()
            }
            self.outside = int((status.get("azure") or {}).get("outside", 0))
            if self.ledger_log is not None:
                print(f"{at_s:.1f}", json.dumps(status.get("grants")), file=self.ledger_log, flush=True)
            self.judge.ledger_changed(at_s, entries, limit=int((body.get("spec") or {}).get("limit", 0)))

    async def _follow_azure(self, azure: aiohttp.ClientSession) -> None:
        while True:
            with suppress(aiohttp.ClientError, TimeoutError):
                await self._read_azure(azure)
            now_s = self.pace.elapsed_s()
            self.judge.look(now_s)
            self._sample(now_s)
            await asyncio.sleep(POLL_S)

    async def _read_azure(self, azure: aiohttp.ClientSession) -> None:
        async with azure.get(f"http://azure/changes?since={self.changes}") as response:
            lines = (await response.read()).splitlines()
        for line in lines:
            change = json.loads(line)
            at_s = change["at"] - self.pace.origin_utc_s
            label = _label(change["nic_id"])
            if change["addresses_before"] != change["addresses_after"]:
                self.last_change_s = at_s
                self.judge.nic_changed(at_s, label, max(0, change["addresses_after"] - 1))
            self.judge.configured(at_s, label, change["allocated_after"])
            appeared, vanished = ([one for one in change[key] if ":" in one] for key in ("appeared", "vanished"))
            if appeared or vanished:
                self.judge.ipv6_changed(at_s, label, appeared=appeared, vanished=vanished)
        self.changes += len(lines)
        async with azure.get(f"http://azure/writes?since={self.writes}") as response:
            for write in (written := await response.json()):
                at_s, name = write["at"] - self.pace.origin_utc_s, write["nic"].lower()
                self.judge.nic_written(at_s, name)
                if write["operation"] == OF_INSTANCE:
                    self.judge.instance_written(at_s, name)
        self.writes += len(written)
        async with azure.get("http://azure/calls") as response:
            self.calls = Counter(await response.json())

    def _sample(self, now_s: float) -> None:
        self.samples.append(
            Sample(
                at_s=now_s,
                granted=self.judge.granted,
                on_nics=self.judge.on_nics,
                allocated=sum(pool.allocated for pool in self.pools.values()),
                assigned=sum(pool.assigned for pool in self.pools.values()),
                writes=self.nic_writes,
            )
        )

    @property
    def nic_writes(self) -> int:
        """Writes that Azure got: of NICs, and of scale sets' instances for theirs."""
        return self.calls["nic.put"] + self.calls[OF_INSTANCE]


async def _revision(etcd: aiohttp.ClientSession, url: str) -> int:
    async with etcd.post(f"{url}/v3/kv/range", json={"key": _text64(PREFIX)}) as response:
        return int((await response.json())["header"]["revision"])


def _text64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _written(nic_id: str) -> str:
    """What is written when that NIC changes, as the fake names it: the NIC, or its instance as SET_NUMBER."""
    names = nic_id.strip("/").lower().split("/")[7::2]
    return "_".join(names[:2]) if len(names) > 1 else "".join(names)


def _label(nic_id: str) -> str:
    """`GROUP/NAME` of a NIC's resource id, or `GROUP/SET/NUMBER/NAME`, as the ledger writes it."""
    parts = nic_id.strip("/").split("/")
    return "/".join((parts[3], *parts[7::2])).lower()
