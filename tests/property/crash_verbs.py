"""What an agent does, as verbs that may be cut short anywhere and are then repeated: what comes before one, the verb,
and how one sees that it is done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Any, Final
from zlib import crc32

from azure_cni.api.egress import EGRESS
from azure_cni.datapath.policy import OURS
from azure_cni.errors import CloudUnreachable
from azure_cni.ipam.sizing import Policy
from azure_cni.model.identity import ModeName
from azure_cni.node.pool.taint import has_taint
from fakes.simulated_node import holder
from property.crash_machine import SMALL, CrashMachine, Step
from unit.node.attaching import ADDRESS, POOLS, PUBLIC_IP, WEB

Fact = Callable[[CrashMachine], bool]
FULL: Final = Policy(min_free=2, max_free=4, batch=2, maximum=4)
ELSEWHERE: Final = IPv4Address("10.240.3.9")
GROUP: Final = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/applicationSecurityGroups/web"


async def nothing(machine: CrashMachine) -> None: ...


def always(machine: CrashMachine) -> bool:
    return True


@dataclass(frozen=True)
class Verb:
    """`act` is repeated as it is, after the agent died in it. `again`: what comes instead, where that is another."""

    name: str
    act: Step
    before: Step = nothing
    done: Fact = always
    again: Step | None = None
    policy: Policy = SMALL
    fresh: bool = False
    """No agent has ever run here. Where none runs any more after what comes before, the verb is a start, too."""

    def __str__(self) -> str:
        return self.name


def pods(*names: str, **annotations: str) -> Step:
    """They run."""

    async def step(machine: CrashMachine) -> None:
        for name in names:
            machine.create(name, **annotations)
            await machine.until(lambda name=name: machine.agent.counts.free > 0 or machine.holds(name))  # type: ignore[misc]
            await machine.add(name)

    return step


def after(*steps: Step) -> Step:
    async def step(machine: CrashMachine) -> None:
        for one in steps:
            await one(machine)

    return step


def now(act: Callable[[CrashMachine], Any]) -> Step:
    """Something that others do in an instant. A repeat does nothing: it is done."""

    async def step(machine: CrashMachine) -> None:
        act(machine)

    return step


def add(name: str, *, of: str = "") -> Step:
    async def step(machine: CrashMachine) -> None:
        await machine.add(name, of=of)

    return step


def delete(*names: str) -> Step:
    async def step(machine: CrashMachine) -> None:
        for name in names:
            await machine.delete(name)
            machine.forget(name)

    return step


async def check(machine: CrashMachine) -> None:
    await machine.check("a")


async def collect(machine: CrashMachine) -> None:
    await machine.collect("a")
    for name in ("b", "c"):
        machine.forget(name)


async def replace_sandbox(machine: CrashMachine) -> None:
    """As the kubelet does it: the failed sandbox ends, and the pod gets another one."""
    await machine.delete("a")
    await machine.add("a2", of="a")


async def silent_write(machine: CrashMachine) -> None:
    """Azure is silent about a write that it never carries out, so the node has to write the NIC once more."""
    machine.agent.nic.fail_next = CloudUnreachable("cannot change the NIC: no answer")
    machine.edit(minFree=7, maxFree=9)


async def lose_routes(machine: CrashMachine) -> None:
    machine.agent.datapath.lose(machine.agent.datapath.key(holder("a").sandbox), where="node", routes=())


def has_routes(machine: CrashMachine) -> bool:
    datapath = machine.agent.datapath
    return bool(datapath.wired[datapath.key(holder("a").sandbox)].way.routes)


async def lose_node(machine: CrashMachine) -> None:
    """The table and the policy rule."""
    datapath = machine.agent.datapath
    if not machine.disturbed:
        machine.disturbed = True
        datapath.rules.discard(OURS)
        datapath.flush()


async def lose_sandbox(machine: CrashMachine) -> None:
    """The runtime forgets a sandbox, and its pod is deleted: no DEL comes."""
    if "a" in machine.running:
        del machine.running["a"]
        machine.agent.datapath.remove_netns(holder("a").netns)
        machine.forget("a")


async def crash_between(machine: CrashMachine) -> None:
    """The agent is away while pods end."""
    if "a" in machine.running:
        machine.record_delete("a")
        machine.record_delete("b")
        for name in ("a", "b"):
            machine.api_pods.bodies.pop(name)


async def stale_link(machine: CrashMachine) -> None:
    """An earlier release died between the end of a ledger entry and that of its link."""
    key = machine.agent.datapath.key(holder("stale").sandbox)
    if not machine.strange:
        machine.strange.add(key)
        machine.agent.datapath.wired[key] = replace(next(iter(machine.agent.datapath.wired.values())), netns="/gone")


async def readdress(machine: CrashMachine) -> None:
    """Somebody gives the VM's NIC another primary address."""
    machine.agent.nic.elsewhere_readdress(str(ELSEWHERE))
    machine.agent.cloud.identity = replace(machine.agent.cloud.identity, primary_ip=ELSEWHERE)
    machine.read_now()


async def lose_addresses(machine: CrashMachine) -> None:
    """Another tool writes the NIC from a template without ours."""
    if not machine.disturbed:
        machine.disturbed = True
        machine.agent.nic.elsewhere_forget()
    machine.read_now()


def is_gated(machine: CrashMachine) -> bool:
    written = machine.api_pods.conditions.written.get("a")
    return written is not None and written.holds


def is_tainted(machine: CrashMachine) -> bool:
    return has_taint(machine.agent.pools.node)


def free(count: int) -> Fact:
    return lambda machine: machine.agent.counts.free == count


def has_attached(machine: CrashMachine) -> bool:
    return machine.agent.nic.attached_to(machine.running["a"]) == {WEB, ADDRESS}


def annotate(name: str, **annotations: str) -> Step:
    def act(machine: CrashMachine) -> None:
        machine.api_pods.bodies[name]["metadata"]["annotations"] = annotations
        machine.show(name)

    return now(act)


def attach(name: str) -> Step:
    return annotate(name, **{POOLS: WEB.id, PUBLIC_IP: ADDRESS.id})


def is_own(machine: CrashMachine) -> bool:
    return machine.agent.datapath.own_egress == {machine.running["a"]}


def other_mode(machine: CrashMachine) -> ModeName:
    return ModeName.BRIDGE if machine.mode is ModeName.TRANSPARENT else ModeName.TRANSPARENT


def sample(steps: Sequence[str], *, of: int, salt: str) -> range:
    """Every `of`-th step, by number; which of them is first depends on `salt`."""
    return range(crc32(salt.encode()) % of, len(steps), of)


VERBS: Final = (
    Verb("boot", nothing, fresh=True, done=free(2)),
    Verb("start of the next agent", nothing, before=after(pods("a", "b"), CrashMachine.kill)),
    Verb("ADD", add("a"), before=now(lambda machine: machine.create("a"))),
    Verb("ADD, then DEL and another", add("a"), before=now(lambda m: m.create("a")), again=replace_sandbox),
    Verb("ADD that waits for growth", pods("a", "b", "c", "d"), done=free(2)),
    Verb("ADD with its own egress", pods("a", **{EGRESS: "pod"}), done=is_own),
    Verb("repeated ADD", add("a"), before=pods("a")),
    Verb("DEL", delete("a"), before=pods("a", "b")),
    Verb("DEL of one with its own egress", delete("a"), before=pods("a", **{EGRESS: "pod"})),
    Verb("CHECK", check, before=pods("a")),
    Verb("GC", collect, before=pods("a", "b", "c")),
    Verb("recorded DELs", nothing, before=after(pods("a", "b"), CrashMachine.kill, crash_between)),
    Verb("growth", now(lambda m: m.edit(minFree=6, maxFree=8)), done=free(6)),
    Verb(
        "shrinking",
        now(lambda m: m.edit(minFree=1, maxFree=2, batch=1)),
        before=pods("a"),
        done=lambda m: m.agent.counts.free <= 2,
    ),
    Verb("ADD of one that asks for a pool", pods("a", **{POOLS: WEB.id}), done=is_gated),
    Verb("rewriting", silent_write, done=lambda machine: machine.agent.counts.free >= 7),
    Verb("attaching", attach("a"), before=pods("a"), done=has_attached),
    Verb(
        "detaching",
        annotate("a"),
        before=after(pods("a"), attach("a"), lambda machine: machine.until(lambda: has_attached(machine))),
        done=lambda machine: not any(machine.agent.nic.resources.values()),
    ),
    Verb(
        "security groups",
        now(lambda machine: machine.edit(applicationSecurityGroups=[GROUP])),
        before=pods("a"),
        done=lambda machine: machine.agent.nic.groups == (GROUP,),
    ),
    Verb("egress by annotation", annotate("a", **{EGRESS: "pod"}), before=pods("a"), done=is_own),
    Verb("lost routes", lose_routes, before=pods("a"), done=has_routes),
    Verb("link that no ledger has", stale_link, before=pods("a"), done=lambda m: len(m.agent.datapath.wired) == 1),
    Verb("lost table and rule", lose_node, before=pods("a"), done=lambda m: OURS in m.agent.datapath.rules),
    Verb("sandbox without a DEL", lose_sandbox, before=pods("a", "b"), done=lambda m: m.agent.counts.assigned == 1),
    Verb(
        "change of mode",
        now(lambda machine: machine.edit(mode=other_mode(machine).value)),
        done=lambda machine: machine.agent.status.get("mode") == other_mode(machine).value,
    ),
    Verb(
        "another primary address",
        readdress,
        before=pods("a"),
        done=lambda machine: machine.agent.state.link is not None and machine.agent.state.link.primary == ELSEWHERE,
    ),
    Verb(
        "lost addresses",
        lose_addresses,
        before=pods("a", "b"),
        done=lambda machine: set(machine.running.values()) <= machine.agent.nic.addresses,
    ),
    Verb("full node", pods("a", "b", "c"), before=pods("d"), policy=FULL, done=is_tainted),
    Verb(
        "a pool that somebody deletes",
        now(lambda machine: machine.agent.pools.__setattr__("pool", None) or machine.agent.node.pool_gone()),
        before=pods("a"),
        done=lambda machine: machine.agent.status.get("assigned") == 1,
    ),
)
