"""The box as a whole: up, status, down.

`up` is idempotent. A box whose cloud and control plane run is completed: what is missing is started, nodes are added.
Anything less is a ruin (a crash, a reboot), which is cleared away first. `down` ends everything by recorded process
and by namespace, then looks whether anything is left, and says so.
"""

import errno
import shutil
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from azurebox import azure, cgroups, host, image, leftovers, processes, project_image, prometheus, tools
from azurebox.controlplane import ControlPlane, kubectl
from azurebox.facts import (
    CONTROL_PLANE,
    DISKS,
    FABRIC_NETNS,
    MAX_INSTANCES,
    MAX_NODES,
    PREFIX,
    RUN,
    instance_name,
    node_name,
)
from azurebox.machine import NETNS, Machine, ensure_netns, python_in
from azurebox.node import CONTAINERD_SERVICE, RUNTIMES, Node, await_containerd
from azurebox.processes import Process
from azurebox.steps import StepError, say, step, wait_for, write_whole

CLOUD = "azbox-cloud"
CLOUD_TIMEOUT_S = 60
REGISTER_TIMEOUT_S = 180
NODES_AT_ONCE = 4
LEFT_ON_DISK = ("etc/cni/net.d", "opt/cni/bin", "var/lib/azure-cni")  # what a disk has of azure-cni: /run is memory
RUNTIME = RUN / "runtime"  # which of RUNTIMES the nodes of this box have
DUAL_STACK = RUN / "dual-stack"  # there when this box has IPv6
KUBERNETES = RUN / "kubernetes"  # which minor of Kubernetes this box has


@contextmanager
def alone() -> Iterator[None]:
    """One command at a time changes the box, whoever gives it: there is one box on a machine.

    The lock is a socket's name and no file: it is gone with its process, and `down` leaves nothing.

    Raises:
        StepError: another command is changing the box.

    """
    with socket.socket(socket.AF_UNIX) as lock:
        try:
            lock.bind(f"\0{PREFIX}alone")
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise StepError(
                "cannot change the box: another command is changing it", advice="wait for it to finish"
            ) from None
        yield


def up(count: int, *, instances: int = 0, runtime: str | None = None, dual_stack: bool = False) -> None:
    """Bring up a control plane and at least `count` nodes on VMs of their own and `instances` of the scale set.

    `runtime` is one of RUNTIMES; None: what the box has already. With `dual_stack` a new box has IPv6, too.

    Raises:
        StepError: the box has another runtime, Kubernetes or no IPv6, or something does not come up.

    """
    host.require_root()
    if whole() and dual_stack and not has_ipv6():
        raise StepError("cannot give this box IPv6: it was made with IPv4 alone",
                        advice="e2e/box down, then this again")  # fmt: skip
    if whole() and current_kubernetes() != tools.KUBERNETES_MINOR:
        raise StepError(
            f"cannot complete the box with Kubernetes {tools.KUBERNETES_MINOR}: it has {current_kubernetes()}",
            advice=f"set {tools.KUBERNETES_CHOICE}={current_kubernetes()}, or e2e/box down first",
        )
    if whole() and runtime not in {None, current_runtime()}:
        raise StepError(f"cannot bring up nodes with {runtime}: those of this box have {current_runtime()}",
                        advice="e2e/box down, then this again")  # fmt: skip
    host.ensure_packages()
    tools.ensure_tools()
    image.ensure_bases()
    images = image.ensure_pod_images()
    if kept := project_image.kept():
        images.append(kept.archive)  # what `install` would load afterwards
    if not whole() and (leftover := leftovers.look()):
        say(f"clearing away a box that is not whole: {leftover.counts()}")
        tear_down()
    with step("cloud: the fake Azure and its fabric"):
        start_cloud(dual_stack=dual_stack or has_ipv6())
    write_whole(RUNTIME, runtime or current_runtime())
    write_whole(KUBERNETES, tools.KUBERNETES_MINOR)
    names = [*map(node_name, range(1, count + 1)), *map(instance_name, range(instances))]
    start_cluster(names, images)
    with step("nodes registered"):
        wait_for(
            lambda: registered() >= len(names), timeout_s=REGISTER_TIMEOUT_S, what=f"{len(names)} nodes to register"
        )
        require_alive([CLOUD, CONTROL_PLANE, *names])


def start_cluster(names: Sequence[str], images: Sequence[Path]) -> None:
    """The control plane and these nodes, whose runtimes start and load images while the API server comes up."""
    with ThreadPoolExecutor(max_workers=NODES_AT_ONCE) as workers:
        with step(f"control plane: {CONTROL_PLANE}"):
            # One after the other into the network, so that their addresses are in order; the rest at once.
            control_plane = boot_control_plane()
            nodes = [Node(*start_machine(name), control_plane, runtime=current_runtime()) for name in names]
            prepared = [workers.submit(node.prepare, images) for node in nodes]
            control_plane.start()
        with step("prometheus"):
            prometheus.start(control_plane)
        with step(f"nodes: {' '.join(names)}"):
            for node, ready in zip(nodes, prepared, strict=True):
                ready.result()
                node.join()


def current_kubernetes() -> str:
    """The minor of Kubernetes that the box has; of one that was brought up before there was a choice, the default."""
    return KUBERNETES.read_text() if KUBERNETES.exists() else tools.KUBERNETES_DEFAULT


def has_ipv6() -> bool:
    """Whether the box has both families: its VNet, the VMs on their own and its Services."""
    return DUAL_STACK.exists()


def current_runtime() -> str:
    """Which of RUNTIMES the nodes of the box have, or will have."""
    return RUNTIME.read_text() if RUNTIME.exists() else RUNTIMES[0]


def whole() -> bool:
    """Whether the cloud and the control plane's VM run, without which nothing can be completed, and all is recorded."""
    interrupted = any(process.pid == 0 for process in processes.all_records())
    return not interrupted and all(processes.running(name) for name in (CLOUD, CONTROL_PLANE))


def require_alive(names: Sequence[str]) -> None:
    """Raises: StepError when one of these VMs or processes, or a service of such a VM, has ended; carries its log.

    VMs that are not the cluster's, such as those with Docker, may have what was stopped.
    """
    for process in processes.all_records():
        ours = any(process.name == name or process.name.startswith(f"{name}-") for name in names)
        if ours and not process.is_alive():
            raise StepError(f"{process.name} ended after it was started", log=process.log, advice="e2e/box up again")


def require_up() -> None:
    """Raises: StepError unless the box is up."""
    host.require_root()
    if not whole():
        raise StepError("the box is not up", advice="e2e/box up")


def node_machines() -> list[Machine]:
    """The nodes' VMs that are up, in order; instances of the scale set come last."""
    names = (*map(node_name, range(1, MAX_NODES + 1)), *map(instance_name, range(MAX_INSTANCES)))
    return [machine for machine in map(Machine, names) if machine.init]


def start_cloud(*, dual_stack: bool = False) -> Process:
    """Start the cloud process in the fabric's namespace and wait for its side door."""
    ensure_netns(FABRIC_NETNS)
    RUN.mkdir(parents=True, exist_ok=True)
    if dual_stack:
        write_whole(DUAL_STACK, "")
    process = processes.start(
        CLOUD,
        python_in(
            NETNS / FABRIC_NETNS, "azurebox.cloud", f"--state-dir={RUN}", *(["--dual-stack"] if dual_stack else [])
        ),
        env=processes.PYTHON_ENVIRONMENT,
    )
    processes.wait_until(process, azure.answers, timeout_s=CLOUD_TIMEOUT_S, what="the fake Azure to answer")
    return process


def start_machine(name: str) -> tuple[Machine, azure.Nic]:
    """Boot a VM and plug it in."""
    machine = Machine(name)
    machine.boot(tools=tools_directory())
    nic = azure.ensure_vm(name)
    machine.connect(nic)
    return machine, nic


def boot_control_plane() -> ControlPlane:
    """Boot the control plane's VM; its services are not started yet."""
    _, nic = start_machine(CONTROL_PLANE)
    return ControlPlane(nic.primary, dual_stack=has_ipv6())


def start(name: str) -> None:
    """Start a service that was stopped; containerd answers when this returns.

    Raises:
        StepError: there is no such service, or it does not come up.

    """
    process = processes.restart(processes.require(name))
    machine, _, service = name.rpartition("-")
    if service == CONTAINERD_SERVICE:
        await_containerd(Machine(machine), process)


def revive() -> list[str]:
    """Start each service that has ended, oldest first, as systemd does on a real machine; their names.

    Raises:
        StepError: one does not come up.

    """
    ended = [process.name for process in processes.all_records() if not process.is_alive()]
    for name in sorted(ended, key=lambda name: not name.endswith(CONTAINERD_SERVICE)):
        start(name)
    return ended


def reboot(name: str) -> None:
    """Pull a node's plug and boot it again: its disk stays, what was in /run, /tmp and its network is gone.

    Raises:
        StepError: there is no such node, or it does not come back.

    """
    power_off(name)
    power_on(name)


def power_off(name: str) -> None:
    """Pull a node's plug, as when its VM is deallocated: disk and NIC stay. StepError where there is no such node."""
    processes.halt(processes.require(name), grace_s=0)


def power_on(name: str) -> None:
    """Boot a node that was powered off. StepError when it does not come back."""
    control_plane = ControlPlane(azure.ensure_vm(CONTROL_PLANE).primary)
    Node(*start_machine(name), control_plane).start(images=[])


def replace(name: str, *, like: str = "") -> None:
    """Another VM in the place of a node's, as a scale set or Terraform makes it: new GUID, NIC and disk, the same name.

    The cluster hears nothing of it: Node and NodeIPPool stay. With `like`, the disk is made from that node's, as far as
    azure-cni leaves anything there.

    Raises:
        StepError: there is no such node, or the new one does not come up.

    """
    processes.require(name)
    _end_machine(name)
    azure.remove_vm(name)
    shutil.rmtree(Machine(name).disk)
    control_plane = ControlPlane(azure.ensure_vm(CONTROL_PLANE).primary)
    machine, nic = start_machine(name)
    if like:
        for directory in LEFT_ON_DISK:
            # As a VM sees it: its /etc is laid over the host's.
            copied = f"{_root(Machine(like))}/{directory}"
            if Path(copied).is_dir():
                shutil.copytree(copied, f"{_root(machine)}/{directory}", dirs_exist_ok=True)
    Node(machine, nic, control_plane, runtime=current_runtime()).start(image.ensure_pod_images())


def _root(machine: Machine) -> str:
    """The root directory of a VM that is up, as the host sees it."""
    init = machine.init
    if not init:
        raise StepError(f"cannot read the disk of {machine.name}: it is not up")
    return f"/proc/{init.pid}/root"


def _end_machine(name: str) -> None:
    """End all processes of a VM, and forget them."""
    for process in reversed(processes.all_records()):
        if process.name == name or process.name.startswith(f"{name}-"):
            processes.stop(process, grace_s=0)


def remove(name: str, *, keep_nic: bool = False) -> None:
    """Take a node out of the cluster and delete its VM with the disk; its NIC may live on, as it may in Azure.

    Raises:
        StepError: there is no such node.

    """
    processes.require(name)
    _end_machine(name)
    kubectl("delete", "node", name, "--ignore-not-found")
    # Nobody is left to say that they have ended; Kubernetes itself finds out after a minute or so.
    here = f"--field-selector=spec.nodeName={name}"
    kubectl("delete", "pods", "--all-namespaces", here, "--force", "--grace-period=0")
    azure.request("DELETE", f"/vms/{name}", {"keep_nic": keep_nic})
    shutil.rmtree(Machine(name).disk)


def tools_directory() -> Path:
    """The directory of programs that VMs see as /opt/azbox/bin."""
    return tools.KUBERNETES.directory


def registered() -> int:
    """How many nodes the API server knows."""
    return len(kubectl("get", "nodes", "-o", "name").split())


def tear_down() -> None:
    """End and remove everything of the box; safe to call on any ruin."""
    for process in reversed(processes.all_records()):
        processes.stop(process, grace_s=0)
    leftovers.remove_namespaces()
    cgroups.remove()
    leftovers.unmount()
    for directory in (RUN, DISKS):
        if directory.exists():
            shutil.rmtree(directory)


def down() -> None:
    """Take the box down and make sure that nothing is left.

    Raises:
        StepError: something is left; says what.

    """
    host.require_root()
    with step("ending processes, removing namespaces, cgroups and disks"):
        tear_down()
    left = leftovers.look()
    if left:
        raise StepError(f"cannot take the box down wholly, left are: {left}", advice="run e2e/box down again")
    say("nothing is left: no process, namespace, mount, cgroup, link or file of the box")
