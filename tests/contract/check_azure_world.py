"""The world of `azure-cni check --azure`: the real SDK against the fake Azure, and a cluster that is fake."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from contract.azure_world import ServedAzure, login_of, served
from fakeazure import FakeAzure
from fakeazure.adminfilters import ChangeNic, ChangeSubnet, PutResource
from fakeazure.identity import Principal
from scenarios.harness import az
from unit.commands.running import run
from unit.diagnose.clusters import cluster, node, pool, process

NODES = ("vm1", "vm2")
CODES = (
    "NicNotFound",
    "ScaleSetMode",
    "VmIdentity",
    "RolePermissions",
    "PodsShutOff",
    "ProbesShutOut",
    "OutboundDenied",
    "NoWayOut",
    "PoolsByNic",
)


@dataclass(frozen=True, slots=True)
class World:
    """Azure with two VMs, and a person who may read all of it."""

    served: ServedAzure
    person: Principal

    @property
    def azure(self) -> FakeAzure:
        return self.served.azure

    def put_group(self, name: str, *rules: dict[str, Any], subnet: str = "", nic: str = "") -> None:
        """A security group on a subnet or on a NIC."""
        PutResource(kind="networkSecurityGroups", name=name, properties={"securityRules": list(rules)}).run(self.azure)
        if subnet:
            ChangeSubnet(name=subnet, security_group=name).run(self.azure)
        if nic:
            ChangeNic(name=nic, security_group=name).run(self.azure)

    async def check(self, *flags: str, installed: bool = True) -> dict[str, dict[str, Any]]:
        """What it says, by code."""
        found = await self.answer(*flags, installed=installed)
        return {one["code"]: one for one in found["checks"] if one["group"] == "azure"}

    async def answer(
        self, *flags: str, installed: bool = True, nics: Mapping[str, str] | None = None, **vms: str
    ) -> dict[str, Any]:
        """All of it. `vms`: IDs that Nodes name in place of their VMs, "" for none; `nics`: names of the pools'."""
        nics = {name: f"{name}-nic" for name in NODES} | dict(nics or {})
        ids = {name: self.azure.vm(name).id for name in NODES} | vms
        nodes = [node(name, providerID=f"azure://{one}" if one else "") for name, one in ids.items()]
        pools = [pool(name, nicID=self.azure.nic(nics[name])["id"]) for name in NODES]
        own = [process(kind, name) for name in NODES for kind in ("agent", "controller")]
        access = cluster(nodes=nodes, pools=pools if installed else [], processes=own)
        done = await asyncio.to_thread(run, access, "check", *flags, "-o", "json")
        return {**json.loads(done.stdout), "exit": done.exit_code}

    async def mend(self, command: str) -> None:
        """As a person would who copies it; joined by && or ;."""
        self.azure.identity.set_permissions(["*"], principal=self.person.object_id)
        for one in re.split(r" && |; ", command):
            program, *words = shlex.split(one)
            assert program == "az"
            assert await asyncio.to_thread(az.main, words) == 0


@asynccontextmanager
async def azure_and_a_person(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[World]:
    """Of two VMs, and that person's login in the environment."""
    azure = FakeAzure(seed=1)
    async with served(azure, secondaries=2, subnets={"nodes": "10.240.0.0/24", "others": "10.240.1.0/24"}) as served_:
        azure.add_vm("vm2", secondaries=2)
        person = azure.add_identity("jane")
        azure.identity.set_permissions(["*/read"], principal=person.object_id)
        for name, value in login_of(person, served_, tmp_path).items():
            monkeypatch.setenv(name, value)
        yield World(served_, person)
