"""What lasts: an address that a container names, containers without the process, and addresses that come back."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address
from pathlib import Path

from azurebox import processes
from azurebox.cloud import SUBNET_PREFIX
from azurebox.demo.docker_stage import (
    CLIENT,
    FIXED,
    NAMED,
    WEB,
    Stage,
    address_of,
    head,
    served_at,
    show_call,
    show_in,
    show_start,
)
from azurebox.demo.guide import Guide
from azurebox.docker_host import PLUGIN, DockerHost
from azurebox.steps import StepError, wait_for

SETTLED_WITHIN_S = 60.0
"""Docker's lists are read within half a minute, and an address cools for 2 s; here the machine may be busy."""


def show_named_address(guide: Guide, stage: Stage) -> None:
    """A container that names its address has it again after a restart."""
    guide.chapter(
        "An address that stays",
        "A container gets another address with each start, unless it names one (--ip) that the VM's NIC holds. Docker "
        "wants a network with a subnet for that, the NIC's own.",
    )
    wanted = free_address(stage)
    create = ("docker", "network", "create", "-d", "azure-cni", "--ipam-driver", "azure-cni")
    show_in(guide, stage.one, *create, "--subnet", SUBNET_PREFIX, FIXED)
    show_start(guide, stage.one, NAMED, network=FIXED, options=("--ip", str(wanted)))
    show_in(guide, stage.one, "docker", "restart", "-t", "0", NAMED)
    seen = show_call(guide, stage.other, CLIENT, served_at(wanted))
    found = address_of(stage.one, NAMED, network=FIXED)
    guide.judge(
        found == wanted and seen == str(stage.client),
        f"after its restart {NAMED} answers at {found} again.",
        f"after its restart {NAMED} has {found}, and not {wanted}; there {seen or 'nobody'} was seen calling",
    )


def show_killed_process(guide: Guide, stage: Stage) -> None:
    """Containers live without the process, and it knows them when it is back."""
    name = f"{stage.one.name}-{PLUGIN}"
    pid = pid_of(name)
    guide.chapter(
        "The process is killed",
        f"Process {pid} of {stage.one.name} is azure-cni. Without it {WEB} answers as before; only starts and ends of "
        "containers wait. systemd would start it again at once; here the third command does. Then it knows every "
        "container, by its ledger and the kernel.",
    )
    address = stage.web
    with _running_again(stage.one):
        show_in(guide, stage.one, "sh", "-c", f"kill -9 {pid}")
        wait_for(lambda: not processes.running(name), timeout_s=SETTLED_WITHIN_S, what=f"process {pid} to be gone")
        meanwhile = show_call(guide, stage.other, CLIENT, served_at(address))
        guide.show("start", name)
        status = show_in(guide, stage.one, "azure-cni", "docker", "status", "--wait", "60", shorten=endpoints)
    known = [str(address), "joined"] in [line.split()[:2] for line in status.splitlines()]
    guide.judge(
        meanwhile == str(stage.client) and known and stage.web == address,
        f"{WEB} answered without it, and still has {address}; the new process knows that.",
        f"{WEB} saw {meanwhile or 'nobody'} meanwhile, where {CLIENT} with {stage.client} called; it has {stage.web}, "
        f"had {address}, and the new process {'knows' if known else 'does not know'} that",
    )


def show_return(guide: Guide, stage: Stage) -> None:
    """All addresses come back, and the trail knows who had them."""
    guide.chapter(
        "Addresses come back",
        "When containers end, their addresses go back to the pool: after cooling for a moment (here 2 s; 130 s unless "
        "the settings say otherwise) the next containers can have them. The audit trail knows who had which when.",
    )
    address = stage.web
    with suppress(StepError):  # what is shown then is judged below
        wait_for(lambda: WEB in stage.one.who(str(address)), timeout_s=SETTLED_WITHIN_S, what="the container's name")
    show_in(guide, stage.one, "docker", "rm", "-f", WEB, NAMED)
    show_in(guide, stage.other, "docker", "rm", "-f", CLIENT)
    with suppress(StepError):
        wait_for(lambda: all(map(_is_empty, stage.hosts)), timeout_s=SETTLED_WITHIN_S, what="the pools to be free")
    show_in(guide, stage.one, "azure-cni", "docker", "status", shorten=head)
    trail = show_in(guide, stage.one, "azure-cni", "docker", "who", str(address))
    left = [host.name for host in stage.hosts if not _is_empty(host)]
    guide.judge(
        not left and WEB in trail,
        f"no container has an address, and the trail names {WEB}.",
        f"addresses are still assigned, or links left, on {' and '.join(left)}"
        if left
        else f"the trail does not say that {WEB} had {address}",
    )


def free_address(stage: Stage) -> IPv4Address:
    """One that the first VM's NIC holds in its pool and no container has: the last one, which Docker has not reached.

    Raises:
        StepError: there is none.

    """
    free = [address for address in stage.pool(stage.one) if address != stage.web]
    if not free:
        raise StepError(f"the NIC of {stage.one.name} holds no free address")
    return free[-1]


def endpoints(status: str) -> str:
    """Of what `azure-cni docker status` prints, the part that says who has which address."""
    return status.rpartition("\n\n")[2]


def pid_of(name: str) -> str:
    """The id that a process of the box has in its VM.

    Raises:
        StepError: it does not run.

    """
    if (process := processes.running(name)) is None:
        raise StepError(f"{name} does not run", advice=f"e2e/box logs {name}")
    return pid_inside(Path(f"/proc/{process.pid}/status").read_text())


def pid_inside(status: str) -> str:
    """A process's id in its innermost namespace, from its /proc/PID/status."""
    line = next(line for line in status.splitlines() if line.startswith("NSpid:"))
    return line.split()[-1]


@contextmanager
def _running_again(host: DockerHost) -> Iterator[None]:
    """The plugin runs afterwards, whatever happens here."""
    try:
        yield
    finally:
        host.start_plugin()


def _is_empty(host: DockerHost) -> bool:
    """No container has an address, none cools, and no link of one is left."""
    status = host.status()
    return ", 0 assigned, " in status and ", 0 cooling, " in status and "acni" not in host.run("ip", "link")
