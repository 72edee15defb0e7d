"""A VM of the box: a network, mount, uts and pid namespace with a disk, held by its first process.

The network namespace has the VM's name under /run/netns, so that the fabric can put `eth0` into it. The others live
and end with the VM's first process (machine_boot.sh): to kill that one is to pull the plug, the kernel ends every
process of the VM with it and drops its mounts. Services are entered with nsenter, see the VM's own /etc, /opt, /var,
/run and /tmp, and so use the same paths as on any other machine.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from azurebox import cgroups, processes
from azurebox.azure import Nic
from azurebox.facts import DISKS
from azurebox.processes import Process
from azurebox.steps import StepError, capture, wait_for, write_whole

NETNS = Path("/run/netns")
BOOT = Path(__file__).with_name("machine_boot.sh")
BOOT_TIMEOUT_S = 60
ROUTER_S = 60  # until a VM has heard of its router of IPv6, which speaks each 10 s

# What kubeadm's preflight checks ask of a node; Azure's images leave the first at 0.
NODE_SYSCTLS = {"net.ipv4.ip_forward": "1"}


@dataclass(frozen=True, slots=True)
class Machine:
    """One VM by its name, such as `azbox-vm1`."""

    name: str

    @property
    def disk(self) -> Path:
        """Its disk: a directory of the host, with the VM's /etc (changes), /opt and /var."""
        return DISKS / self.name

    @property
    def init(self) -> Process | None:
        """Its first process when the VM is up."""
        return processes.running(self.name)

    @property
    def netns(self) -> Path:
        """Its network namespace."""
        return NETNS / self.name

    def boot(self, *, tools: Path) -> None:
        """Bring the VM up unless it is; `tools` becomes its /opt/azbox/bin. Its disk stays what it was.

        Raises:
            StepError: its first process does not come up; carries that one's log.

        """
        if self.init:
            return
        # Of an earlier life: a reboot leaves no links, and a kubelet waits long for groups that hold nothing.
        delete_netns(self.name)
        cgroups.remove(self.name)
        ensure_netns(self.name)
        self.disk.mkdir(parents=True, exist_ok=True)
        init = processes.start(
            self.name,
            ["nsenter", f"--net={self.netns}", "unshare", "--mount", "--uts", "--pid", "--fork",
             "sh", str(BOOT), self.name, str(self.disk), str(tools)],
            wrappers=1,
        )  # fmt: skip
        booted = Path(f"/proc/{init.pid}/root/run/booted")
        processes.wait_until(init, booted.exists, timeout_s=BOOT_TIMEOUT_S, what=f"{self.name} to boot")

    def connect(self, nic: Nic) -> None:
        """Do what cloud-init and DHCP do at boot: `eth0` gets the primary address and the default route.

        That of IPv6 comes from the router.
        """
        self.run(["ip", "link", "set", "lo", "up"])
        self.run(["ip", "address", "replace", f"{nic.primary}/{nic.prefix_length}", "dev", "eth0"])
        self.run(["ip", "link", "set", "eth0", "up"])
        self.run(["ip", "route", "replace", "default", "via", str(nic.gateway), "dev", "eth0"])
        if nic.ipv6:
            self.run(["ip", "address", "replace", f"{nic.ipv6}/128", "dev", "eth0", "nodad"])
            router = ["ip", "-6", "route", "show", "default"]
            wait_for(lambda: bool(self.run(router)), timeout_s=ROUTER_S, what=f"{self.name} to hear of its router")
        for key, value in NODE_SYSCTLS.items():
            self.run(["sh", "-c", f"echo {value} > /proc/sys/{key.replace('.', '/')}"])

    def enter(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` inside the VM.

        Raises:
            StepError: the VM is not up.

        """
        init = self.init
        if not init:
            raise StepError(f"cannot enter {self.name}: it is not up", advice="e2e/box status, then e2e/box up")
        return ["nsenter", f"--target={init.pid}", "--mount", "--uts", "--net", "--pid", "--", *argv]

    def run(self, argv: Sequence[str], *, stdin: str | None = None) -> str:
        """Run one quick command inside and return its output."""
        return capture(self.enter(argv), what=f"run {' '.join(argv[:4])} in {self.name}", stdin=stdin)

    def interact(self, argv: Sequence[str]) -> int:
        """Run a person's command inside, on the caller's terminal; its status."""
        environment = processes.ENVIRONMENT | {"TERM": os.environ.get("TERM", "dumb")}
        return subprocess.run(self.enter(argv), env=environment, check=False).returncode

    def service(self, name: str, argv: Sequence[str]) -> Process:
        """Start the service `name` inside unless it runs already; its record and log are `VM-name`."""
        return processes.start(f"{self.name}-{name}", self.enter(argv), wrappers=1)

    def write(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file inside, its directories made as needed; `path` is the VM's."""
        init = self.init
        if not init:
            raise StepError(f"cannot write {path} in {self.name}: it is not up")
        target = Path(f"/proc/{init.pid}/root") / path.lstrip("/")
        write_whole(target, text, mode=mode)


def ensure_netns(name: str) -> None:
    """Make the network namespace `name` unless it is there."""
    if not (NETNS / name).exists():
        capture(["ip", "netns", "add", name], what=f"make network namespace {name}")


def delete_netns(name: str) -> None:
    """Remove the network namespace `name` with its links, if it is there."""
    if (NETNS / name).exists():
        capture(["ip", "netns", "delete", name], what=f"remove network namespace {name}")


def python_in(netns: Path, module: str, *args: str) -> list[str]:
    """The command line of a Python module of the box that runs in a network namespace with the host's files."""
    return ["nsenter", f"--net={netns}", "--", sys.executable, "-m", module, *args]
