"""What must be so on all nodes before a fault is over, while pods go on to come and go, and what is counted at rest."""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address

from azurebox import release
from azurebox.steps import StepError
from scenarios.harness.node import AT_REST, BINARY, CONFLIST, RUN_DIR, Node, Slot
from scenarios.harness.product import Product
from scenarios.harness.stage import Stage
from scenarios.test_09_quota import Quota
from soak.verdict import Usage

OVER = ("Drifted", "SubnetFull", "Throttled", "QuotaExceeded", "PermissionMissing")
"""Conditions that end with the fault."""
COUNT = """
echo links $(ip -o link show | wc -l)
echo routes $(ip route show table all | wc -l)
echo rules $(ip rule show | wc -l)
echo neighbours $(ip neigh show nud permanent | wc -l)
echo tables $(nft list tables | wc -l)
echo namespaces $(ls /run/netns | wc -l)
echo records $(find {run}/released -type f 2>/dev/null | wc -l)
echo files $(find {run} -maxdepth 1 ! -type d | wc -l)
"""
RECORDS = "test ! -d {run}/released || find {run}/released -name '*.json'"
"""Recorded DELs. The first makes the directory: where each was carried out at once, there is none."""
MEASURE = """
for pid in {pids}; do
  [ -e /proc/$pid/stat ] || continue
  echo "$(ls /proc/$pid/fd | wc -l) $(cat /proc/$pid/statm) $(cat /proc/$pid/stat)"
done
"""
PAGE = 4096
MIB = 1024 * 1024


def whole(stage: Stage) -> bool:
    """Nodes and pools are Ready, and ledger, kernel and NIC of each hold the same; StepError says what is not so."""
    if not release.nodes_ready():
        raise StepError("not all nodes, agents and controllers are ready")
    wrong = [f"{node.name}: {what}" for node in stage.nodes for what in _wrong(node)]
    if wrong:
        raise StepError("not right", output="\n".join(wrong))
    return True


def _wrong(node: Node) -> list[str]:
    status = {one["type"]: one for one in node.pool().get("status", {}).get("conditions", ())}
    wrong = [f"{kind}: {status[kind]['message']}" for kind in OVER if _is(status, kind, "True")]
    if not _is(status, "Ready", "True"):
        wrong.append(f"Ready: {status.get('Ready', {}).get('message', 'no such condition')}")
    before, routes, slots = node.slots(), node.routes(), node.slots()
    held, on_nic, in_table = {slot.address for slot in slots}, node.on_nic(), node.known_to_nft()
    wrong += [f"no route to {address}" for address in sorted(lasting(before, slots) - routes)]
    if not held == on_nic == in_table:
        wrong.append(f"{len(held)} addresses in the ledger, {len(on_nic)} on the NIC, {len(in_table)} in the table")
    if node.state() != "Succeeded":
        wrong.append(f"the NIC is {node.state()}")
    wrong += [f"{path} is not there" for path in (CONFLIST, BINARY) if node.ask(["test", "-e", path]).status]
    if node.run("cat", "/proc/sys/net/ipv4/ip_forward").strip() != "1":
        wrong.append("it does not forward")
    return wrong


def lasting(before: Iterable[Slot], after: Iterable[Slot]) -> set[IPv4Address]:
    """Addresses that one pod had at both readings: between them an address may pass from one pod to the next."""
    return {slot.address for slot in set(before).intersection(after) if slot.state == "assigned"}


def _is(conditions: Mapping[str, Mapping[str, str]], kind: str, status: str) -> bool:
    return conditions.get(kind, {}).get("status") == status


def given_back(stage: Stage) -> bool:
    """Whether the quota has each node at rest: it is lowered after the pool, and after the NIC."""
    quota = Quota(stage.box)
    return all(quota.entry(node.name) == AT_REST.allocated for node in stage.nodes)


def counts(stage: Stage) -> dict[str, int]:
    """What a leak would change: of each node by kernel, ledger, NIC, pool and quota. At rest only."""
    quota = Quota(stage.box)
    found: dict[str, int] = {"quota: granted": int(quota.read()["status"]["granted"])}
    for node in stage.nodes:
        for line in node.run("sh", "-c", COUNT.format(run=RUN_DIR)).splitlines():
            what, number = line.split()
            found[f"{node.name}: {what}"] = int(number)
        found[f"{node.name}: slots in the ledger"] = len(node.slots())
        found[f"{node.name}: sandboxes in the ledger"] = len(node.attachments())
        found[f"{node.name}: addresses on the NIC"] = len(node.on_nic())
        found[f"{node.name}: addresses of the NodeIPPool"] = node.counts().allocated
        found[f"{node.name}: granted by the quota"] = quota.entry(node.name)
        found[f"{node.name}: places where these disagree"] = len(node.disagreements())
    return found


def usage(stage: Stage) -> dict[str, Usage]:
    """Memory and descriptors of each agent and controller. How much of a file is in memory is the kernel's affair."""
    found: dict[str, Usage] = {}
    for node in stage.nodes:
        for name, pids in _processes(stage.product, node).items():
            lines = node.run("sh", "-c", MEASURE.format(pids=" ".join(map(str, pids)))).splitlines()
            if lines:  # the oldest is the process itself, others are programs that it runs for a moment
                found[f"{name} of {node.name}"] = min(map(parse_usage, lines), key=_started)
    return found


def _processes(product: Product, node: Node) -> dict[str, list[int]]:
    return {"agent": product.processes(node), "controller": product.controller_processes(node)}


def parse_usage(line: str) -> Usage:
    """From the number of descriptors, and /proc/PID/statm and stat (proc(5)): memory that no file backs is in pages."""
    head, _, rest = line.rpartition(")")
    descriptors, _, resident, of_files, _, _, _, _, pid = head.split()[:9]
    return Usage(f"{rest.split()[19]}/{pid}", (int(resident) - int(of_files)) * PAGE / MIB, int(descriptors))


def _started(usage: Usage) -> tuple[int, int]:
    start, _, pid = usage.identity.partition("/")
    return int(start), int(pid)
