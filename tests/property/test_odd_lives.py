"""A whole node on the real NIC adapter, while others edit its NIC in odd but valid ways and Azure half-answers.

Whatever they do: no address goes to two pods, none goes to a pod that the NIC does not show as a plain secondary, no
configuration of others is lost or changed, and once the faults end a pod that waits gets its address or the cause.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from random import Random
from typing import Any, Final

import pytest

from azure_cni.azure.arm_nic import ArmNic
from azure_cni.azure.resources import Resource
from azure_cni.errors import (
    AccessDenied,
    CloudUnreachable,
    NoAddress,
    OutcomeUnknown,
    PreconditionFailed,
    SubnetFull,
    Throttled,
)
from azure_cni.ipam.sizing import Policy
from azure_cni.model.config_names import is_our_name
from fakes.nic import NIC_ID
from fakes.simulated_node import SimulatedNode, pod_body

pytestmark = pytest.mark.looptime

SUBNET: Final = IPv4Network("10.240.0.0/25")
POLICIES: Final = (Policy(), Policy(size=10), Policy(min_free=1, batch=4, max_free=8), Policy(maximum=16))


def configuration(name: str, address: str | None, **more: Any) -> dict[str, Any]:
    shown = {"provisioningState": "Succeeded", "privateIPAllocationMethod": "Dynamic", "subnet": {"id": "/subnets/s"}}
    return {"name": name, "properties": {**shown, "privateIPAddress": address, **more}}


class OddArm:
    """One NIC's document, as the resource manager would keep it, and what others do to it."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.faults = True
        self.form = chance.choice(('W/"{}"', '"{}"', "{}"))
        primary = configuration("ipconfig1", "10.240.0.4", primary=True)
        self.document: dict[str, Any] = {
            "id": chance.choice((NIC_ID, NIC_ID.lower())),
            "tags": {"a": None},
            "properties": {"provisioningState": "Succeeded", "odd": [1, None], "ipConfigurations": [primary]},
        }
        self.touch()

    @property
    def configs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.document["properties"]["ipConfigurations"]
        return found

    def touch(self) -> None:
        self.document["etag"] = self.form.format(self.chance.getrandbits(64))

    def free(self) -> list[str]:
        taken = {one["properties"]["privateIPAddress"] for one in self.configs}
        return [str(address) for address in list(SUBNET.hosts())[3:] if str(address) not in taken]

    async def get(self, _: Resource) -> dict[str, Any]:
        await asyncio.sleep(0.01)
        self._fail(0.1)
        return copy.deepcopy(self.document)

    async def put(self, _: Resource, body: Mapping[str, Any], *, if_match: str, changes: bool = True) -> dict[str, Any]:
        await asyncio.sleep(0.05)
        self._fail(0.2)
        if if_match != self.document["etag"]:
            raise PreconditionFailed("cannot write: changed")
        assert isinstance(changes, bool)
        written = copy.deepcopy(dict(body))
        self._judge(written)
        new = [one for one in written["properties"]["ipConfigurations"] if "privateIPAddress" not in one["properties"]]
        room = self.free()
        if len(new) > len(room):
            raise SubnetFull("cannot write: full", azure_code="SubnetIsFull")
        for one in new:
            one["properties"] |= {"privateIPAddress": room.pop(0), "provisioningState": "Succeeded"}
        self.document = written
        self.touch()
        if self.faults and self.chance.random() < 0.1:
            raise OutcomeUnknown("cannot write: accepted, and not known how it ended")
        return copy.deepcopy(self.document)

    def _fail(self, share: float) -> None:
        if self.faults and self.chance.random() < share:
            wait_s = self.chance.choice((None, 0.0, 3.0, 90.0))
            throttled = Throttled("cannot ask: 429", retry_after_s=wait_s)
            raise self.chance.choice((CloudUnreachable("cannot ask: 503"), throttled, AccessDenied("cannot ask: 403")))

    def _judge(self, written: Mapping[str, Any]) -> None:
        """Only our own plain configurations may be missing; the rest is as it was."""
        after = written["properties"]["ipConfigurations"]
        assert len(after) <= 256
        assert sum(bool(one["properties"].get("primary")) for one in after) == 1
        for one in self.configs:
            plain = is_our_name(one["name"]) and not one["properties"].get("loadBalancerBackendAddressPools")
            assert one in after or plain, one
        assert {**written, "properties": 0} == {**self.document, "properties": 0}

    def edit(self) -> set[str]:
        """Somebody else changes something; the addresses that pods may lose, or have by another right."""
        secondaries = [one for one in self.configs if not one["properties"].get("primary")]
        some = self.chance.choice(secondaries or [configuration("none", None)])
        name, free = f"theirs-{self.chance.getrandbits(40)}", self.free()
        blocks = sum("/" in str(one["properties"]["privateIPAddress"]) for one in self.configs)
        block = f"10.240.1.{16 * blocks % 256}/28"  # no two that pods could have
        edits: tuple[Any, ...] = (
            lambda: self.configs.insert(0, configuration(name, f"fd00::{len(free)}", privateIPAddressVersion="IPv6")),
            lambda: self.configs.append(configuration(name, block, privateIPAddressPrefixLength=28)),
            lambda: self.configs.append(configuration(name, None, provisioningState="Failed")),
            lambda: self.configs.append(configuration(name, free[0], provisioningState=None)),
            lambda: self.configs.append(configuration(name, free[0], privateIPAddressVersion=None)),
            lambda: self.configs.append(configuration(name, some["properties"]["privateIPAddress"])),
            lambda: self.configs.append(configuration(some["name"].title(), free[0])),
            lambda: some["properties"].update(loadBalancerBackendAddressPools=[{"id": "/pools/p"}]),
            lambda: some["properties"].pop("loadBalancerBackendAddressPools", None),
            lambda: some["properties"].update(privateIPAllocationMethod="Static"),
            lambda: some.update(name=name),
            lambda: some.update(name=some["name"].upper()),
        )
        self.chance.choice(edits)()
        self.touch()
        return {some["properties"]["privateIPAddress"] or "", free[0]}


def holds(config: dict[str, Any], address: str) -> bool:
    """It shows the address, or the block that this one is in."""
    shown = str(config["properties"]["privateIPAddress"])
    return shown == address or ("/" in shown and IPv4Address(address) in IPv4Network(shown))


class Life:
    """One node and its pods, all by chance."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.arm = OddArm(self.chance)
        nic = ArmNic(self.arm, NIC_ID, chance=self.chance)  # type: ignore[arg-type]
        self.node = SimulatedNode(nic=nic, policy=self.chance.choice(POLICIES), shrink_delay_s=60.0)  # type: ignore[arg-type]
        self.pods: dict[str, str] = {}
        self.edited: set[str] = set()
        self.count = 0

    async def live(self) -> None:
        async with self.node.running():
            for _ in range(40):
                await self.chance.choice((self.come, self.come, self.go, self.edit, self.rest))()
                assert not [reported for reported in self.node.observer.recorded if reported[0] == "internal_error"]
            self.arm.faults = False
            await self.rest(150.0)
            await self.served()

    async def come(self) -> None:
        for _ in range(self.chance.choice((1, 3, 9))):
            self.count += 1
            await self.add(f"p{self.count}")

    async def add(self, name: str) -> bool:
        self.node.demand.observe_pod(pod_body(name))
        try:
            address = str((await self.node.add(name)).addresses[0])
        except NoAddress:
            self.node.demand.forget_pod(f"uid-{name}")
            return False
        assert address not in self.pods.values()
        shown = [one for one in self.arm.configs if holds(one, address)]
        assert address in self.edited or [bool(one["properties"].get("primary")) for one in shown] == [False]
        self.pods[name] = address
        self.node.demand.observe_pod(pod_body(name, phase="Running", ip=address))
        return True

    async def go(self) -> None:
        for name in self.chance.sample(sorted(self.pods), min(len(self.pods), self.chance.choice((1, 5, 30)))):
            await self.node.delete(name)
            self.node.demand.forget_pod(f"uid-{name}")
            del self.pods[name]

    async def edit(self) -> None:
        self.edited |= self.arm.edit()

    async def rest(self, seconds: float | None = None) -> None:
        await asyncio.sleep(seconds or self.chance.choice((1.0, 30.0, 200.0)))

    async def served(self) -> None:
        """A pod that comes now gets an address, or hears that there is no more to be had."""
        for _ in range(200):
            if await self.add("last"):
                return
            await asyncio.sleep(5)
        assert self.node.state.forecast.reason in {"NodeAtLimit", "SubnetFull"}, self.node.state.forecast


@pytest.mark.parametrize("seed", range(12))
async def test_no_edit_of_others_and_no_half_answer_takes_a_pods_address_or_stops_the_pool(seed: int) -> None:
    await Life(seed).live()
