"""A node that joins the box: a VM with every image in it, whose kubelet starts, until the first pod runs there."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from azurebox import azure, controlplane, image, lifecycle, processes
from azurebox.client import Box
from azurebox.facts import CACHE, CONTROL_PLANE, DISKS, LOGS, MAX_NODES, node_name
from azurebox.machine import Machine
from azurebox.node import Node
from bench.box_pods import NAMESPACE, Watch, pod, watching
from bench.kubelet_figures import FROM, UNTIL, Seen, seconds, told_by
from bench.node import BenchError

AGENTS: Final = ("-n", "kube-system", "-l", "app.kubernetes.io/component=agent")
FIRST: Final = "first"
JOIN_S: Final = 240.0


def spare_nodes(count: int) -> list[str]:
    """Names of nodes that the box has never had: a new VM has a new disk. BenchError when there are not so many."""
    names = [node_name(number) for number in range(1, MAX_NODES + 1)]
    spare = [name for name in names if not (DISKS / name).exists()]
    if len(spare) < count:
        raise BenchError(f"cannot join {count} nodes: the box has room for {len(spare)} more; e2e/box down, then up")
    return spare[:count]


def join(box: Box, name: str, *, conflist: Mapping[str, str]) -> dict[str, float]:
    """Seconds from the kubelet's start to each step (`kubelet_figures.STEPS`). The node is removed in the end.

    `conflist`: files by path that are on its disk already; with them the agent's image is not, so that none runs.
    """
    images = [*image.ensure_pod_images(), *([] if conflist else [_agent_archive(box)])]
    place = {"nodeSelector": {"kubernetes.io/hostname": name}}
    here = f"--field-selector=metadata.name={name}"
    with watching("nodes", here) as nodes, watching("pods", "-n", NAMESPACE) as pods:
        box.apply(pod(FIRST, **place))
        try:
            with _vm(box, name) as node:
                for path, text in conflist.items():
                    node.machine.write(path, text)
                node.start(images)
                started_s = _started_s(f"{name}-kubelet")
                return _steps(box, name, nodes, pods, agent=not conflist, started_s=started_s)
        finally:
            box.kubectl("delete", "pod", FIRST, "-n", NAMESPACE, "--force", "--ignore-not-found")


def _agent_archive(box: Box) -> Path:
    """Of the image that the installed agents have."""
    (agents,) = box.kubectl_json("get", "daemonset", *AGENTS)["items"]
    tag = agents["spec"]["template"]["spec"]["containers"][0]["image"].rpartition(":")[2]
    archive = CACHE / f"azure-cni-{tag}.tar"
    if not archive.exists():
        raise BenchError(f"cannot join a node: the agents' image {tag} is not kept any more; run e2e/box install")
    return archive


@contextmanager
def _vm(box: Box, name: str) -> Iterator[Node]:
    control_plane = controlplane.ControlPlane(azure.ensure_vm(CONTROL_PLANE).primary)
    machine, nic = lifecycle.start_machine(name)
    try:
        yield Node(machine, nic, control_plane, runtime=lifecycle.current_runtime())
    finally:
        box.remove(name, keep_nic=False)
        shutil.rmtree(Machine(name).disk, ignore_errors=True)


def _steps(box: Box, name: str, nodes: Watch, pods: Watch, *, agent: bool, started_s: float) -> dict[str, float]:
    pods.until(lambda seen: any(it.runs for it in seen), f"the first pod on {name}", within_s=JOIN_S)
    nodes.until(lambda seen: any(it.ready for it in seen), f"{name} to be Ready", within_s=JOIN_S)
    at_s = {
        "registered": nodes.seen[0].at_s,
        "ready": _when(nodes.seen, lambda it: it.ready),
        "running": _when(pods.seen, lambda it: it.runs),
    }
    if agent:
        boot_s = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        at_s |= {step: since_s - boot_s for step, since_s in _agent_steps(box, name).items()}
    return {step: when - started_s for step, when in at_s.items()}


def _when(seen: Sequence[Seen], so: Callable[[Seen], bool]) -> float:
    return next(it.at_s for it in seen if so(it))


def _agent_steps(box: Box, name: str) -> dict[str, float]:
    """Seconds since 1970: when the runtime had started the agent's container, and what its log tells."""
    (agent,) = box.kubectl_json("get", "pods", *AGENTS, f"--field-selector=spec.nodeName={name}")["items"]
    container = agent["status"]["containerStatuses"][0]["containerID"].rpartition("//")[2]
    said = f'StartContainer for \\"{container}\\" returns successfully'
    log = (LOGS / f"{name}-containerd.log").read_text(errors="replace").splitlines()
    line = next((line for line in log if said in line), None)
    if line is None:
        raise BenchError(f"the containerd of {name} does not tell when it started the agent's container {container}")
    told = told_by(box.kubectl("logs", "-n", "kube-system", agent["metadata"]["name"], "--timestamps").splitlines())
    if UNTIL not in told:
        raise BenchError(f"the agent of {name} does not tell when it wrote the conflist: is agent.logFormat json?")
    return {FROM: seconds(line.split('"')[1]), **told}


def _started_s(service: str) -> float:
    """Boot time, in seconds, at which a service of the box was started."""
    return processes.require(service).started / os.sysconf("SC_CLK_TCK")
