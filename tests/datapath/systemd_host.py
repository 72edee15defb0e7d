"""A VM whose PID 1 is systemd, in namespaces of its own: the unit of the Debian package runs there as it is.

All of this machine's files are there, below what is written, which goes with the host; its own units and its /run are
not. The fake Azure is a process beside it, in its network.

Usage of the module, inside a network namespace of its own: python -m datapath.systemd_host DIRECTORY. It makes the NIC,
serves the fake Azure, and writes DIRECTORY/docker.toml, until it is asked to stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from datapath.docker_vm import PRIMARY, make_nic
from datapath.namespaces import Namespace, Namespaces
from debian_package.build import FILES, SCRIPTS
from fakeazure import FakeAzure

SYSTEMD = Path("/lib/systemd/systemd")
CGROUPS = Path("/sys/fs/cgroup/systemd")
"""Of cgroup v1: with v2 the host would need a tree of its own, and nobody has tried that."""
INTERPRETER = Path(f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")
"""Debian's, because the unit hides whatever lies in somebody's home."""
NEEDS_SYSTEMD = pytest.mark.skipif(
    not (SYSTEMD.exists() and CGROUPS.is_dir() and INTERPRETER.exists()),
    reason=f"needs {SYSTEMD}, its hierarchy of cgroup v1 at {CGROUPS}, and {INTERPRETER}",
)
OPERATOR = Path(__file__).parents[2] / "operator"
UNIT = "azure-cni-docker.service"
PATIENCE_S = 300.0

BOOT = """
set -e
mount --make-rprivate /
mount -t tmpfs none "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" none "$1/root"
cd "$1/root"
mount -t proc none proc
mount -t sysfs -o ro none sys
for place in run tmp dev sys/fs/cgroup; do mount -t tmpfs none $place; done
mkdir sys/fs/cgroup/systemd dev/pts dev/shm
mount -t cgroup -o none,name=systemd none sys/fs/cgroup/systemd
for device in null zero full random urandom tty; do touch dev/$device; mount --bind /dev/$device dev/$device; done
mount -t devpts -o newinstance,ptmxmode=0666 none dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
rm -rf usr/sbin/policy-rc.d etc/systemd/system etc/azure-cni var/lib/azure-cni var/log/journal
mkdir -p etc/systemd/system/multi-user.target.wants etc/azure-cni srv/packages srv/operator srv/shared
mount --bind "$2" srv/packages
mount --bind "$3" srv/operator
mount --bind "$4" srv/shared
cp -r srv/shared/etc/. etc/
install -m 644 srv/shared/units/* usr/lib/systemd/system
install -m 755 srv/shared/scripts/* usr/local/sbin
install -m 755 srv/shared/azure-cni usr/bin/azure-cni
mkdir .old
pivot_root . .old
umount -l .old
mount --make-rshared /
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=azure-cni "$5" --system --unit=multi-user.target
"""
"""Of the host, in new namespaces: a directory to mount in, packages, sources, what both sides see, and systemd."""

PROGRAM = f"""#!{INTERPRETER} -I
import sys

sys.dont_write_bytecode = True
sys.path[:0] = ["/srv/operator", "/srv/packages"]
from azure_cni.entrypoints.cli import main

sys.exit(main())
"""


class SystemdHost:
    """Booted, with the package's unit and whatever other `units` there are, by name. All of them start at the boot."""

    def __init__(self, namespaces: Namespaces, directory: Path, *, units: dict[str, str] | None = None) -> None:
        self.node: Namespace = namespaces.new("host")
        self._directory = directory
        self._cgroup = CGROUPS / self.node.name
        self.shared = directory / "shared"
        self._lay({UNIT: (FILES / UNIT).read_text()} | (units or {}))
        self._log = (directory / "log").open("ab")
        self._azure = self._in_network(
            sys.executable, "-m", "datapath.systemd_host", str(self.shared / "etc/azure-cni")
        )
        self._until((self.shared / "etc/azure-cni/docker.toml").exists)
        self._boot()

    def run(self, *command: str, check: bool = True) -> str:
        """A command on the host; what it says, its complaint included."""
        inside = ["nsenter", "--target", str(self.pid), "--all", *command]
        done = subprocess.run(
            inside, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=PATIENCE_S
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}"
        return done.stdout

    def shown(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "--value", "--property", name, unit).strip()

    def until(self, unit: str, name: str, value: str) -> None:
        """A property of a unit has that value."""
        self._until(
            lambda: self.shown(unit, name) == value, say=lambda: self.run("systemctl", "status", unit, check=False)
        )

    def wait(self, fact: Callable[[], bool]) -> None:
        """Until it is so."""
        self._until(fact)

    def path(self, place: str) -> Path:
        """A file of the host, as it is seen from here."""
        return Path(f"/proc/{self.pid}/root{place}")

    def end(self) -> None:
        """With all that runs there."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)  # of a PID namespace: all in it end
        for process in (self._host, self._azure):
            process.kill()
            process.wait()
        self._log.close()
        for directory, _, _ in os.walk(self._cgroup, topdown=False):
            self._until(lambda directory=directory: _removed(Path(directory)))

    def _lay(self, units: dict[str, str]) -> None:
        wanted = self.shared / "etc/systemd/system/multi-user.target.wants"
        for directory in (wanted, self.shared / "etc/azure-cni", self.shared / "units", self.shared / "scripts"):
            directory.mkdir(parents=True)
        for name, text in units.items():
            (self.shared / "units" / name).write_text(text)
            (wanted / name).symlink_to(f"/lib/systemd/system/{name}")
        for name in SCRIPTS:
            shutil.copy(FILES / name, self.shared / "scripts" / f"azure-cni-{name}")
        (self.shared / "azure-cni").write_text(PROGRAM)

    def _boot(self) -> None:
        self._cgroup.mkdir()
        (self._directory / "mounts").mkdir()
        packages = next(Path(one) for one in sys.path if (Path(one) / "aiohttp").is_dir())
        places = (self._directory / "mounts", packages, OPERATOR, self.shared, SYSTEMD)
        namespaces = ("--cgroup", "--pid", "--mount", "--uts", "--ipc", "--fork")
        boot = ["unshare", *namespaces, "bash", "-c", BOOT, "boot", *map(str, places)]
        entered = ["sh", "-c", 'echo $$ > "$0/cgroup.procs"; exec "$@"', str(self._cgroup), *boot]
        self._host = self._in_network(*entered)
        children = Path(f"/proc/{self._host.pid}/task/{self._host.pid}/children")
        self._until(lambda: bool(children.read_text().split()))
        self.pid = int(children.read_text().split()[0])
        self._until(lambda: Path(f"/proc/{self.pid}/comm").read_text().strip() == "systemd")
        self._until(lambda: "State=" in self.run("systemctl", "show", "--property", "SystemState", check=False))

    def _in_network(self, *command: str) -> subprocess.Popen[bytes]:
        environment = os.environ | {"PYTHONPATH": ":".join(sys.path)}
        inside = ["nsenter", f"--net={self.node.path}", *command]
        return subprocess.Popen(inside, stdout=self._log, stderr=self._log, env=environment)

    def _until(self, fact: Callable[[], bool], *, say: Callable[[], str] = str) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while not fact():
            assert time.monotonic() < deadline_s, say() + (self._directory / "log").read_text()
            time.sleep(0.1)


def _removed(cgroup: Path) -> bool:
    """Once its last process has gone."""
    with contextlib.suppress(OSError):
        cgroup.rmdir()
    return not cgroup.exists()


async def serve(directory: Path) -> None:
    """Until the process ends."""
    azure = FakeAzure(seed=7)
    azure.add_vnet()
    vm = azure.add_vm("vm1", address=PRIMARY)
    azure.pin_caller("vm1")
    make_nic(vm.mac)
    async with azure.serve() as endpoints:
        shutil.copy(endpoints.ca_file, directory / "ca.pem")
        written = directory / ".docker.toml"
        written.write_text(f"""
            [azure]
            resourceManagerEndpoint = "{endpoints.arm}"
            metadataEndpoint = "{endpoints.imds}"
            caFile = "/etc/azure-cni/ca.pem"
        """)
        written.rename(directory / "docker.toml")
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
