"""What can go wrong on the box: the one list of faults, each with what brings it about, what takes it away, and what
has to be so before it is over.

A `trouble` is a context manager: it has happened when the block begins, and nobody does anything more when it has
ended. Where nothing is to be taken away (a process is killed, a table is deleted), the product alone puts it right.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial

from azurebox.steps import StepError
from scenarios.harness.cloud import TROUBLES
from scenarios.harness.node import BINARY, CONFLIST, RUN_DIR
from scenarios.harness.product import LEASE, NAMESPACE
from scenarios.harness.stage import Stage
from soak.health import RECORDS, whole
from soak.plan import Kind

API_SERVER = "azbox-cp-kube-apiserver"
HAPPENED_S = 90.0
MORE = 4
"""Addresses that a pool asks for beyond what it has, so that its NIC is written."""
THROTTLED_S = 15
SLOW_S = 20
AWAY_S = (6.0, 15.0)
WRITE = "Microsoft.Network/networkInterfaces/write"
PLUGINS = BINARY.rpartition("/")[0]
ROUTES_OFF = (
    "ip -4 route show | grep -E ' dev (acni|azure0)' | while read -r address rest; do "
    'ip -4 route del "$address" 2>/dev/null || true; done'
)
FILLER = "/run/soak-filler"
FILL = f"""
used=$(df -k --output=used /run | tail -1)
mount -o remount,size=$((used + 2048))k /run
cat /dev/zero > {FILLER} 2>/dev/null || true
"""
"""What others write meanwhile must have room: the kernel refuses a size below what is used."""

Trouble = Callable[[Stage], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong at the stage's first node. `recovered` raises StepError, or answers False, until so."""

    kind: Kind
    trouble: Trouble
    recovered: Callable[[Stage], bool] = whole


@contextmanager
def _write_wanted(stage: Stage) -> Iterator[None]:
    """The pool wants more addresses while the block runs, so its NIC is written; afterwards it may shrink again."""
    stage.node.want(size=stage.node.ledger().allocated + MORE)
    try:
        yield
    finally:
        stage.node.want()


# Azure.


@contextmanager
def _write_goes_wrong(stage: Stage, *, kind: str) -> Iterator[None]:
    node = stage.node
    with stage.cloud.fault(kind, at=node.nic_name), _write_wanted(stage):
        stage.box.wait_for(
            lambda: not stage.cloud.in_force(node.nic_name), HAPPENED_S, f"{kind} to happen to {node.nic_name}"
        )
        yield


@contextmanager
def _nic_fault(stage: Stage, *, kind: str, operation: str | None, **when: object) -> Iterator[None]:
    """A fault that lasts, while the NIC should be written."""
    with stage.cloud.fault(kind, at=stage.node.nic_name, operation=operation, **when), _write_wanted(stage):
        yield


@contextmanager
def _slow(stage: Stage) -> Iterator[None]:
    with stage.cloud.fault("slow", at=stage.node.nic_name, duration=SLOW_S), _write_wanted(stage):
        yield


def _metadata(stage: Stage, *, kind: str) -> AbstractContextManager[None]:
    return stage.cloud.fault(kind, at=stage.node.name, operation="imds.*", times=0)


@contextmanager
def _subnet_full(stage: Stage) -> Iterator[None]:
    with stage.cloud.subnet_left_with(0), _write_wanted(stage):
        yield


@contextmanager
def _forbidden(stage: Stage) -> Iterator[None]:
    with stage.cloud.without(WRITE), _write_wanted(stage):
        yield


@contextmanager
def _addresses_lost(stage: Stage, *, taken: bool) -> Iterator[None]:
    """Another tool takes one address that a pod has and one that is free, and the agent is not asked to look.

    `taken`: it has them for as long as the block runs, so the agent cannot get them back.
    """
    slots = stage.node.slots()
    lost = [str(slot.address) for slot in slots if slot.state == "assigned"][:1]
    lost += [str(slot.address) for slot in slots if slot.state == "free"][:1]
    stage.box.azure("POST", f"/nics/{stage.node.nic_name}/vanish", {"addresses": lost, "taken": taken})
    try:
        yield
    finally:
        stage.box.azure("POST", "/give-back", {})


@contextmanager
def _written(stage: Stage, *, tool: str) -> Iterator[None]:
    """A tool writes the NIC from what it knows (`fakeazure.meddlers`), as soon as it finds the NIC as it wants it."""
    _meddle(stage, tool)
    yield


@contextmanager
def _created_again(stage: Stage) -> Iterator[None]:
    """The agent's writes fail until Cluster API finds the NIC Failed and creates it again."""
    with _nic_fault(stage, kind="fail", operation=None, times=0):
        _meddle(stage, "capz")
    yield


def _meddle(stage: Stage, tool: str) -> None:
    where = f"/nics/{stage.node.nic_name}/meddle"
    stage.box.wait_for(lambda: stage.box.azure("POST", where, {"by": tool}), HAPPENED_S, f"{tool} to write the NIC")


@contextmanager
def _addresses_found(stage: Stage) -> Iterator[None]:
    """Another tool adds two addresses, which pods may get, and takes them away again."""
    where = f"/nics/{stage.node.nic_name}"
    added = stage.box.azure("POST", f"{where}/appear", {"count": 2})["addresses"]
    try:
        yield
    finally:
        stage.box.azure("POST", f"{where}/vanish", {"addresses": added})


# The cluster.


@contextmanager
def _agent_killed(stage: Stage) -> Iterator[None]:
    _signal(stage, "KILL")
    yield


@contextmanager
def _agent_deleted(stage: Stage) -> Iterator[None]:
    stage.product.restart(stage.node)
    yield


@contextmanager
def _agent_frozen(stage: Stage) -> Iterator[None]:
    _signal(stage, "STOP")
    try:
        yield
    finally:
        _signal(stage, "CONT")


def _signal(stage: Stage, name: str) -> None:
    # One of them may be a program that the agent runs for a moment, and gone by now.
    pids = " ".join(str(pid) for pid in stage.product.processes(stage.node))
    stage.node.run("sh", "-c", f"kill -{name} {pids} 2>/dev/null || true")


@contextmanager
def _leader_killed(stage: Stage) -> Iterator[None]:
    """The controller that works, wherever it runs."""
    where = stage.product.leader()["spec"]["nodeName"]
    node = next(node for node in stage.nodes if node.name == where)
    pids = " ".join(str(pid) for pid in stage.product.controller_processes(node))
    node.run("sh", "-c", f"kill -KILL {pids} 2>/dev/null || true")
    yield


@contextmanager
def _lease_deleted(stage: Stage) -> Iterator[None]:
    stage.box.kubectl("delete", "lease", "-n", NAMESPACE, LEASE)
    yield


@contextmanager
def _away(stage: Stage, *, service: str) -> Iterator[None]:
    """A service of the box ends; "{node}" in its name is the node's."""
    name = service.format(node=stage.node.name)
    stage.box.stop(name)
    try:
        yield
    finally:
        stage.box.start(name)
        # Some services end when another is away, and the box has no systemd to start them.
        stage.box.wait_for(
            partial(stage.box.kubectl, "get", "--raw", "/readyz"), HAPPENED_S, "the API server to answer"
        )
        stage.box.revive()


@contextmanager
def _pool_deleted(stage: Stage) -> Iterator[None]:
    stage.box.kubectl("delete", "nodeippool", stage.node.name)
    yield


# The node.


@contextmanager
def _done(stage: Stage, *, command: str) -> Iterator[None]:
    """Somebody runs a command on the node."""
    stage.node.run("sh", "-c", command)
    yield


@contextmanager
def _moved(stage: Stage, *, path: str) -> Iterator[None]:
    """A file is elsewhere, and comes back."""
    aside = f"{path}.aside"
    stage.node.run("mv", path, aside)
    try:
        yield
    finally:
        stage.node.run("mv", aside, path)


@contextmanager
def _run_full(stage: Stage) -> Iterator[None]:
    """The file system of ledger, records and the runtime's state has no room for another page."""
    try:
        stage.node.run("sh", "-c", FILL)
        yield
    finally:
        stage.node.run("sh", "-c", f"rm -f {FILLER}; mount -o remount,size=50% /run")


def _no_records(stage: Stage) -> bool:
    """All is right, and every recorded DEL was carried out."""
    left = stage.node.run("sh", "-c", RECORDS.format(run=RUN_DIR)).split()
    if left:
        raise StepError("recorded DELs are not carried out", output="\n".join(left))
    return whole(stage)


def _faults() -> Iterator[Fault]:
    for kind in TROUBLES:
        yield Fault(Kind(f"a NIC write: {kind}"), partial(_write_goes_wrong, kind=kind))
    yield Fault(Kind("a NIC write: slow"), _slow)
    throttled = partial(_nic_fault, kind="throttle", operation="nic.put", seconds=THROTTLED_S)
    yield Fault(Kind("ARM throttles", AWAY_S), throttled)
    yield Fault(Kind("ARM silent", AWAY_S), partial(_nic_fault, kind="silent", operation="nic.*", times=0))
    yield Fault(Kind("ARM behind a proxy's page"), partial(_nic_fault, kind="proxy-page", operation="nic.*", times=0))
    yield Fault(Kind("the subnet is full"), _subnet_full)
    yield Fault(Kind("the role lacks the write"), _forbidden)
    yield Fault(Kind("IMDS silent", AWAY_S), partial(_metadata, kind="silent"))
    yield Fault(Kind("IMDS fails", AWAY_S), partial(_metadata, kind="imds-error"))
    yield Fault(Kind("addresses taken off the NIC"), partial(_addresses_lost, taken=False))
    yield Fault(Kind("addresses given to others", AWAY_S), partial(_addresses_lost, taken=True))
    yield Fault(Kind("Terraform writes the NIC"), partial(_written, tool="terraform"))
    yield Fault(Kind("a cloud controller writes the NIC"), partial(_written, tool="ccm"))
    yield Fault(Kind("Cluster API creates the NIC again"), _created_again)
    yield Fault(Kind("addresses added to the NIC"), _addresses_found)
    yield Fault(Kind("agent killed", anywhere=False), _agent_killed, _no_records)
    yield Fault(Kind("agent deleted", anywhere=False), _agent_deleted, _no_records)
    yield Fault(Kind("agent frozen", AWAY_S, anywhere=False), _agent_frozen, _no_records)
    yield Fault(Kind("controller killed"), _leader_killed)
    yield Fault(Kind("controllers away", AWAY_S), lambda stage: stage.product.without_controllers())
    yield Fault(Kind("lease deleted"), _lease_deleted)
    yield Fault(Kind("API server away", AWAY_S), partial(_away, service=API_SERVER))
    yield Fault(Kind("kubelet away", AWAY_S), partial(_away, service="{node}-kubelet"))
    yield Fault(Kind("containerd away"), partial(_away, service="{node}-containerd"))
    yield Fault(Kind("NodeIPPool deleted"), _pool_deleted)
    yield Fault(Kind("table deleted"), partial(_done, command="nft delete table inet azure_cni"))
    yield Fault(Kind("ruleset flushed"), partial(_done, command="nft flush table inet azure_cni"))
    yield Fault(Kind("routes deleted"), partial(_done, command=ROUTES_OFF))
    yield Fault(Kind("forwarding off"), partial(_done, command="echo 0 > /proc/sys/net/ipv4/ip_forward"))
    yield Fault(Kind("/run is full"), _run_full, _no_records)
    yield Fault(Kind("conflist removed"), partial(_done, command=f"rm {CONFLIST}"))
    yield Fault(Kind("plugin removed"), partial(_done, command=f"rm {BINARY}"))
    yield Fault(Kind("chained plugin removed"), partial(_moved, path=f"{PLUGINS}/portmap"))


FAULTS: dict[str, Fault] = {fault.kind.name: fault for fault in _faults()}
"""All of them, by name."""
