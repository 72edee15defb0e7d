"""Each fault of the box brings something about, and takes away what the product does not: on the fake Azure itself, and
on a node and a product that only write down what is done to them.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from azurebox.steps import StepError
from fakeazure import FakeAzure
from fakeazure.admin import ROUTES
from fakeazure.errors import ArmError
from scenarios.harness.cloud import Cloud, documented_actions
from scenarios.harness.node import Counts, Slot
from scenarios.harness.stage import Stage
from soak.faults import FAULTS
from soak.health import RECORDS

NODE = "azbox-vm1"
NIC = f"{NODE}-nic"


@dataclass
class RecordingBox:
    """Its Azure is the fake one; what is waited for happens at once."""

    fake: FakeAzure
    done: list[str]

    def azure(self, method: str, path: str, body: Any = None) -> Any:
        for (verb, pattern), message in ROUTES.items():
            found = re.fullmatch(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern), path)
            if verb == method and found:
                try:
                    result = msgspec.convert({**found.groupdict(), **(body or {})}, message, strict=False).run(
                        self.fake
                    )
                except (ArmError, ValueError, KeyError) as error:
                    raise StepError(str(error)) from error
                if method != "GET":
                    self.done.append(f"{method} {path}")
                return result
        raise StepError(f"no route for {method} {path}")

    def wait_for(self, predicate: Callable[[], Any], _timeout_s: float, what: str, **_: float) -> Any:
        """Where a write of the NIC is waited for, it comes: the fault hits it, and the NIC is Failed."""
        try:
            if answer := predicate():
                return answer
        except StepError:
            nic = self.fake.nic_record(NIC)
            self.fake.network.nics[nic.id.lower()] = replace(nic, state="Failed")
        else:
            self.fake.faults.clear(None)
        answer = predicate()
        assert answer, what
        return answer

    def kubectl(self, *args: str, **_: Any) -> str:
        self.done.append(f"kubectl {' '.join(args)}")
        return "ok"

    def stop(self, service: str) -> None:
        self.done.append(f"stop {service}")

    def start(self, service: str) -> None:
        self.done.append(f"start {service}")

    def revive(self) -> list[str]:
        return []


@dataclass
class RecordingNode:
    fake: FakeAzure
    done: list[str]
    name: str = NODE
    nic_name: str = NIC

    def run(self, *argv: str) -> str:
        self.done.append(f"run {' '.join(argv)}")
        return ""

    def want(self, **spec: object) -> None:
        self.done.append(f"want {json.dumps(spec)}")

    def ledger(self) -> Counts:
        return Counts(len(self.slots()), 1, 3, 0)

    def slots(self) -> list[Slot]:
        held = [IPv4Address(config.address) for config in self.fake.nic_record(NIC).configs[1:]]
        return [Slot(address, "free" if number else "assigned", "") for number, address in enumerate(held)]


@dataclass
class RecordingProduct:
    done: list[str]

    def processes(self, _node: object) -> list[int]:
        return [7, 8]

    controller_processes = processes

    def leader(self) -> dict[str, Any]:
        return {"spec": {"nodeName": NODE}}

    def restart(self, node: RecordingNode) -> None:
        self.done.append(f"restart {node.name}")

    @contextmanager
    def without_controllers(self) -> Iterator[None]:
        self.done.append("scale 0")
        yield
        self.done.append("scale back")


@dataclass
class World:
    """`done`: all that was done to it, in order."""

    fake: FakeAzure
    done: list[str] = field(default_factory=list)

    def stage(self) -> Stage:
        box = RecordingBox(self.fake, self.done)
        parts = (box, RecordingProduct(self.done), Cloud(cast("Any", box)), [RecordingNode(self.fake, self.done)])
        return Stage(*cast("Any", parts))

    def trouble(self) -> dict[str, object]:
        """What of Azure is not as it is at first."""
        azure = self.fake
        return {
            "faults": [fault.effect for fault in azure.faults.active],
            "taken": azure.outside.taken(),
            "permissions": azure.identity.named_permissions(),
        }


@pytest.fixture
def world() -> World:
    fake = FakeAzure(seed=7, operation_duration_s=0.0, throttling=False)
    fake.add_vnet(subnets={"nodes": "10.240.0.0/24"})
    fake.add_vm(NODE, secondaries=4)
    fake.identity.set_permissions(tuple(documented_actions()), principal="*")
    return World(fake)


PAIRS = (
    (r"stop (\S+)", "start {}"),
    (r"run .*kill -STOP (.*)", "run .*kill -CONT {}"),
    (r"scale 0()", "scale back"),
    (r"run mv (\S+) \S+aside", "run mv {}.aside {}"),
    (r"run sh -c .*size=\$\(.*()", "run .*size=50% /run"),
)
"""What is done, and what has to be done after it."""


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_comes_and_goes(world: World, name: str) -> None:
    before = world.trouble()
    with FAULTS[name].trouble(world.stage()):
        assert world.done, "nothing was done"
    assert world.trouble() == before
    wants = [one for one in world.done if one.startswith("want ")]
    assert wants[-1:] in ([], ["want {}"]), "the pool's spec stays"
    for number, one in enumerate(world.done):
        for pattern, undo in PAIRS:
            if found := re.match(pattern, one, re.DOTALL):
                said = re.compile(undo.format(*[re.escape(found[1])] * 2), re.DOTALL)
                assert any(said.match(later) for later in world.done[number + 1 :]), f"{one}: not undone"


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_goes_also_when_the_run_is_interrupted(world: World, name: str) -> None:
    before = world.trouble()
    with pytest.raises(KeyboardInterrupt), FAULTS[name].trouble(world.stage()):
        raise KeyboardInterrupt
    assert world.trouble() == before
    assert sum(one.startswith("stop ") for one in world.done) == sum(one.startswith("start ") for one in world.done)


def test_a_node_that_never_recorded_a_del_has_no_records(tmp_path: Path) -> None:
    command = RECORDS.format(run=tmp_path)
    assert _output(command) == ""
    (tmp_path / "released").mkdir()
    assert _output(command) == ""
    (tmp_path / "released" / "one.json").write_text("{}")
    assert _output(command).split() == [f"{tmp_path}/released/one.json"]


def _output(command: str) -> str:
    return subprocess.run(["sh", "-c", command], check=True, capture_output=True, text=True).stdout
