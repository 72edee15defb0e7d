"""One node as it really is: its ledger's file, its kernel, its NIC in Azure, its NodeIPPool.

The agent is never asked, so that what it says can be held against what is. The ledger is read from its file, past the
lock of the agent that has it open, until two readings in a row are alike: one that meets a write may show half of it.
"""

import json
import re
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Any
from urllib.parse import quote

from azurebox.client import Box
from azurebox.facts import REPOSITORY, nic_name
from azurebox.machine import Machine
from azurebox.steps import StepError

RUN_DIR = "/run/azure-cni"
CONFLIST = "/etc/cni/net.d/10-azure-cni.conflist"
BINARY = "/opt/cni/bin/azure-cni"
READINGS = 50
AGREED_S = 60.0
TAINT = {"key": "azure-cni.io/no-free-addresses", "effect": "NoSchedule"}


@dataclass(frozen=True, slots=True)
class Counts:
    """Addresses of one pool, as some source shows them."""

    allocated: int
    assigned: int
    free: int
    cooling: int


AT_REST = Counts(allocated=16, assigned=0, free=16, cooling=0)
"""A pool that no pod needs: nothing in use, and 8 free ones asked for, rounded up to a batch of 16."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One row of the ledger; `pod` is namespace/name, "" when nobody holds it."""

    address: IPv4Address
    state: str
    pod: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a program said: its status, and its two outputs."""

    status: int
    output: str
    error: str


class Node:
    """A VM of the box that is a node of the cluster."""

    def __init__(self, box: Box, name: str) -> None:
        self._box = box
        self._machine = Machine(name)
        self.name = name
        self.nic_name = nic_name(name)

    def run(self, *argv: str) -> str:
        """Run a command in the VM; its output. StepError when it fails."""
        return self._machine.run(argv)

    def ask(self, argv: Sequence[str], *, stdin: str = "", env: Mapping[str, str] | None = None) -> Answer:
        """Run a command in the VM that may fail."""
        command = ["env", *(f"{key}={value}" for key, value in (env or {}).items()), *argv]
        done = subprocess.run(
            self._machine.enter(command), input=stdin, capture_output=True, text=True, timeout=60, check=False
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def write(self, path: str, text: str) -> None:
        """Write a file of the VM."""
        self._machine.write(path, text)

    def clean(self) -> None:
        """Do what docs/uninstall.md asks people to do on a node; then nothing of azure-cni is left there."""
        document = (REPOSITORY / "docs" / "uninstall.md").read_text().partition("## What stays")[2]
        commands = re.search(r"```console\n(.*?)```", document, re.DOTALL)
        assert commands
        self.run("sh", "-ec", commands[1])
        assert self.links() == set()
        assert "azure0" not in self.run("ip", "-o", "link", "show")
        assert "azure_cni" not in self.run("nft", "list", "tables")
        assert "suppress_ifgroup" not in self.run("ip", "rule", "show")
        left = self.run("sh", "-c", f"ls -d {CONFLIST} {BINARY} {RUN_DIR}/* 2>/dev/null || true")
        assert left == ""

    # What the ledger says.

    def slots(self) -> list[Slot]:
        """The ledger's rows."""
        query = "SELECT address, state, coalesce(pod_namespace || '/' || pod_name, '') FROM slots ORDER BY address"
        return [Slot(IPv4Address(address), state, pod) for address, state, pod in self._rows(query)]

    def attachments(self, *, pod_uid: str = "") -> set[tuple[str, str]]:
        """Container ID and interface of every sandbox that holds an address; those of one pod if it is named."""
        rows = self._rows("SELECT container_id, ifname, pod_uid FROM slots WHERE container_id IS NOT NULL")
        return {(container, ifname) for container, ifname, uid in rows if pod_uid in {"", uid}}

    def ledger(self) -> Counts:
        """The ledger's counts."""
        slots = self.slots()
        states = Counter(slot.state for slot in slots)
        return Counts(len(slots), states["assigned"], states["free"], states["cooling"])

    # What the kernel says.

    def links(self) -> set[str]:
        """Names of the host ends of pods' veths."""
        return {link["ifname"] for link in self._json("ip", "-j", "link", "show") if link["ifname"].startswith("acni")}

    def routes(self) -> set[IPv4Address]:
        """Addresses that the node routes to a pod."""
        return {
            IPv4Address(route["dst"])
            for route in self._json("ip", "-j", "-4", "route", "show")
            if route.get("dev", "").startswith(("acni", "azure0"))
        }

    def known_to_nft(self) -> set[IPv4Address]:
        """Addresses in the pool's set of the node's table."""
        listed = self._json("nft", "-j", "list", "set", "inet", "azure_cni", "pool")
        pool = next(entry["set"] for entry in listed["nftables"] if "set" in entry)
        return {IPv4Address(address) for address in pool.get("elem", ())}

    # What Azure says.

    def nic(self) -> dict[str, Any]:
        """The NIC's document."""
        document: dict[str, Any] = self._box.azure("GET", f"/nics/{quote(self.nic_name, safe='')}")
        return document

    def primary(self) -> IPv4Address:
        """The node's own address."""
        return next(address for address, primary in self._configurations() if primary)

    def on_nic(self) -> set[IPv4Address]:
        """Addresses on the NIC beside the primary."""
        return {address for address, primary in self._configurations() if not primary}

    def state(self) -> str:
        """The NIC's state: Succeeded, Updating, Failed."""
        return str(self.nic()["properties"]["provisioningState"])

    def _configurations(self) -> list[tuple[IPv4Address, bool]]:
        """Addresses of IPv4, those of blocks one by one, and whether they are the primary one."""
        return [
            (address, entry["primary"])
            for entry in self._properties()
            if entry.get("privateIPAddressVersion", "IPv4") == "IPv4"
            for address in IPv4Network(entry["privateIPAddress"], strict=False)
        ]

    def ipv6_on_nic(self) -> set[IPv6Network]:
        """Addresses of IPv6 on the NIC, as /128, and its block."""
        ours = (entry for entry in self._properties() if entry.get("privateIPAddressVersion") == "IPv6")
        return {IPv6Network(entry["privateIPAddress"]) for entry in ours}

    def _properties(self) -> list[dict[str, Any]]:
        return [entry["properties"] for entry in self.nic()["properties"]["ipConfigurations"]]

    # What Kubernetes says.

    def tainted(self) -> bool:
        """Whether the Node has our taint."""
        taints = self._box.kubectl_json("get", "node", self.name)["spec"].get("taints", ())
        return TAINT in taints

    def pool(self) -> dict[str, Any]:
        """The NodeIPPool."""
        document: dict[str, Any] = self._box.kubectl_json("get", "nodeippool", self.name)
        return document

    def want(self, **spec: object) -> None:
        """Set the whole spec of the NodeIPPool; without fields the chart's values count."""
        patch = [{"op": "add", "path": "/spec", "value": spec}]
        self._box.kubectl("patch", "nodeippool", self.name, "--type=json", "-p", json.dumps(patch))

    def read_now(self) -> str:
        """Have the agent read its NIC, and try again what Azure refused; what `status.lastRead.request` is then."""
        asked = str(time.time_ns())
        self._box.kubectl("annotate", "nodeippool", self.name, "--overwrite", f"azure-cni.io/read-now={asked}")
        return asked

    def forget_events(self) -> None:
        """Delete the events of the pool, so that only new ones are found."""
        selector = f"involvedObject.kind=NodeIPPool,involvedObject.name={self.name}"
        self._box.kubectl("delete", "events", "-n", "default", "--field-selector", selector)

    def shown(self) -> dict[str, str]:
        """The node's line of `kubectl get nodeippools`, by column."""
        head, *lines = (line.split() for line in self._box.kubectl("get", "nodeippools").splitlines())
        row = next((line for line in lines if line[0] == self.name), [])
        if len(row) != len(head):
            raise StepError(f"kubectl get nodeippools does not show all of {self.name} yet: {' '.join(row)}")
        return dict(zip(head, row, strict=True))

    def counts(self) -> Counts:
        """The counts as `kubectl get nodeippools` shows them."""
        row = self.shown()
        return Counts(*(int(row[column]) for column in ("ALLOCATED", "ASSIGNED", "FREE", "COOLING")))

    def condition(self, kind: str) -> dict[str, str]:
        """One condition of the pool; StepError when it is not there yet."""
        found = (entry for entry in self.pool().get("status", {}).get("conditions", ()) if entry["type"] == kind)
        condition: dict[str, str] | None = next(found, None)
        if condition is None:
            raise StepError(f"the NodeIPPool {self.name} has no condition {kind} yet")
        return condition

    def disagreements(self) -> list[str]:
        """Where kubectl, ledger, kernel and Azure do not say the same; nothing when they do."""
        slots, counts, on_nic = self.slots(), self.counts(), self.on_nic()
        assigned = {slot.address for slot in slots if slot.state == "assigned"}
        pairs: list[tuple[str, object, object]] = [
            ("kubectl and ledger", counts, self.ledger()),
            ("kubectl and NIC, allocated", counts.allocated, len(on_nic)),
            (
                "status.vnetAddresses and NIC",
                {IPv4Address(entry.split()[0]) for entry in self.pool()["status"]["vnetAddresses"]},
                on_nic,
            ),
            ("ledger and NIC", {slot.address for slot in slots}, on_nic),
            ("ledger and routes", assigned, self.routes()),
            ("ledger and links", len(assigned), len(self.links())),
            ("nftables and NIC", self.known_to_nft(), on_nic),
        ]
        return [f"{what}: {left} is not {right}" for what, left, right in pairs if left != right]

    def _whole_file(self, path: str) -> bytes:
        """What a file holds that others write: two readings in a row are alike when no write was between or amid them.

        StepError when it is written all the time.
        """
        before = self._file(path)
        for _ in range(READINGS):
            if (now := self._file(path)) == before:
                return now
            before = now
        raise StepError(f"cannot read {path} of {self.name}: it was another at each of {READINGS} readings")

    def _file(self, path: str) -> bytes:
        done = subprocess.run(self._machine.enter(["cat", path]), capture_output=True, check=False)
        if done.returncode != 0:
            raise StepError(f"cannot read {path} of {self.name}", output=done.stderr.decode())
        return done.stdout

    def shows(self, counts: Counts, *, within_s: float) -> None:
        """Wait until `kubectl get nodeippools` shows these counts."""

        def shown() -> bool:
            now = self.counts()
            if now != counts:
                raise StepError("not yet", output=f"it shows {now}")
            return True

        self._box.wait_for(shown, within_s, f"the pool of {self.name} to show {counts}")

    def agrees(self, *, assigned: int | None = None, within_s: float = AGREED_S) -> None:
        """Wait until all sources agree, and that many addresses are assigned; StepError says what differs."""

        def agreed() -> bool:
            different = self.disagreements()
            if assigned not in {None, self.counts().assigned}:
                different.append(f"kubectl shows {self.counts().assigned} assigned, not {assigned}")
            if different:
                raise StepError("no agreement", output="\n".join(different))
            return True

        self._box.wait_for(agreed, within_s, f"kubectl, ledger, kernel and Azure to agree about {self.name}")

    def _rows(self, query: str) -> list[Any]:
        try:
            with closing(sqlite3.connect(":memory:")) as ledger:
                ledger.deserialize(self._whole_file(f"{RUN_DIR}/ledger.sqlite"))
                return list(ledger.execute(query))
        except sqlite3.DatabaseError as error:
            raise StepError(f"cannot read the ledger of {self.name}: {error}") from error

    def _json(self, *argv: str) -> Any:
        return json.loads(self.run(*argv) or "[]")
