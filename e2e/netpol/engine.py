"""kube-network-policies' engine on each node of the box. Its kernel has no queue in nftables, so iptables fills one.

The rules are in the node's own tables, beside those of azure-cni and kube-proxy. They do what the engine's own do: the
node's own processes pass, so does what is established, and the first packets of all else are judged.
"""

import contextlib
from collections.abc import Iterator

from azurebox import lifecycle, processes, tools
from azurebox.facts import AGNHOST, KUBECONFIG
from azurebox.machine import Machine
from azurebox.steps import StepError, step
from specs.images import AGNHOST_UPSTREAM

QUEUE = 98
RULES = (
    "-m owner --uid-owner 0 -j ACCEPT",
    "-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
    f"-j NFQUEUE --queue-num {QUEUE}",
)
CHAIN = ("iptables-nft", "--wait", "-t", "mangle")
STARTED_S = 60.0


@contextlib.contextmanager
def engine_on_nodes() -> Iterator[None]:
    """An engine on each node that judges what passes it; then neither engine nor rule."""
    machines = lifecycle.node_machines()
    with step(f"the engine on {len(machines)} nodes"):
        for machine in machines:
            _remove(machine)
    try:
        for machine in machines:
            _install(machine)
        yield
    finally:
        for machine in machines:
            _remove(machine)


def _install(machine: Machine) -> None:
    machine.run(["ctr", "--namespace=k8s.io", "images", "tag", "--force", AGNHOST, AGNHOST_UPSTREAM])
    processes.log_of(_service(machine)).unlink(missing_ok=True)
    engine = processes.start(
        _service(machine),
        ["nsenter", f"--net={machine.netns}", "--", str(tools.path("policy")), "-kubeconfig", str(KUBECONFIG),
         str(QUEUE), machine.name],
    )  # fmt: skip
    processes.wait_until(
        engine,
        lambda: "ready" in engine.log.read_text().splitlines(),
        timeout_s=STARTED_S,
        what=f"the engine on {machine.name} to have read all policies",
    )
    for rule in RULES:
        machine.run([*CHAIN, "-A", "POSTROUTING", *rule.split()])


def _remove(machine: Machine) -> None:
    """Rules first: without an engine they would let nothing pass."""
    for rule in RULES:
        with contextlib.suppress(StepError):  # it is not there
            machine.run([*CHAIN, "-D", "POSTROUTING", *rule.split()])
    if engine := processes.find(_service(machine)):
        processes.stop(engine)


def _service(machine: Machine) -> str:
    return f"{machine.name}-policy"
