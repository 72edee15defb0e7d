"""A VM with Docker and without Kubernetes: an engine, and azure-cni's plugin for it from these sources.

There are two engines: Docker 20.10, Debian's package docker.io, unpacked in the cache and not installed, and Docker 29,
built from source, with the containerd that the cluster has. Both are asked by the client of the package. The VM's
containers share one image, a busybox that also serves, unless it is to do something else: `GET /` on port 8080, and
`/cgi-bin/whoami`, return the caller's address.
"""

import json
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from azurebox import azure, cgroups, lifecycle, processes, tools
from azurebox.facts import AZURE_CA, CACHE, PREFIX
from azurebox.machine import Machine
from azurebox.steps import StepError, capture

ENGINE = CACHE / "docker.io"
VERSIONS = ("20.10", "29")
IMAGE = "azbox/busybox:1"
PORT = 8080
APPLETS = ("sh", "ip", "httpd", "nc", "sleep", "cat", "wget")
WHOAMI = '#!/bin/sh\nprintf "Content-Type: text/plain\\r\\n\\r\\n%s\\n" "$REMOTE_ADDR"\n'
CLIENT, DAEMON, PLUGIN = "/usr/bin/docker", "dockerd", "azure-cni-docker"
MACHINE = re.compile(f"{PREFIX}docker[^-]*")  # without a service's name behind it
COMMANDS = "/opt/azbox/commands"  # the last place of a VM's PATH
OWN_DIRECTORIES = tuple(map(Path, ("/opt", "/run", "/tmp", "/var")))  # a VM has its own
STARTED_S = 120.0

SETTINGS = """\
routablePrefixes = ["192.168.50.0/24"]
[azure]
caFile = "/etc/azure-cni/ca.pem"
[agent]
coolingSeconds = 2
"""


@dataclass(frozen=True, slots=True)
class DockerHost:
    """One such VM by its name, such as `azbox-docker1`; `version` is one of VERSIONS."""

    name: str
    version: str = VERSIONS[0]
    _machine: Machine = field(init=False)

    def __post_init__(self) -> None:
        if not self.name.startswith(f"{PREFIX}docker"):
            raise StepError(f"cannot use {self.name} as a VM with Docker: its name must begin with {PREFIX}docker")
        object.__setattr__(self, "_machine", Machine(self.name))

    def start(self) -> azure.Nic:
        """Boot it, with the plugin, the daemon and the image; what is there already stays."""
        nic = self.boot()
        self.start_plugin()
        self.start_docker()
        return nic

    def boot(self) -> azure.Nic:
        """Boot it with the plugin's settings, and nothing else."""
        machine, nic = lifecycle.start_machine(self.name)
        cgroups.ensure(self.name)
        machine.write("/etc/azure-cni/ca.pem", AZURE_CA.read_text())
        machine.write("/etc/azure-cni/docker.toml", SETTINGS)
        return nic

    def start_docker(self) -> None:
        """Start dockerd, and give it the image of containers."""
        self.start_daemon()
        if not self.docker("image", "ls", "-q", IMAGE).strip():
            self._import_image()

    def start_daemon(self, *settings: str) -> None:
        """Start dockerd, and wait until it answers; that is after it has dealt with the containers of before."""
        options = ["--data-root=/var/lib/docker", "--userland-proxy=false", f"--cgroup-parent=/{self.name}", *settings]
        process = self._machine.service(DAEMON, [*engine_command(self.version), *options])
        processes.wait_until(process, self._answers, timeout_s=STARTED_S, what=f"dockerd of {self.name} to answer")

    def start_plugin(self) -> None:
        """Start the plugin, and wait until a container could start."""
        process = self._machine.service(PLUGIN, self._azure_cni())
        processes.wait_until(process, self._ready, timeout_s=STARTED_S, what=f"the plugin of {self.name} to be ready")

    def stop(self, service: str) -> None:
        """End one of its services with no word."""
        processes.halt(processes.require(f"{self.name}-{service}"), grace_s=0)

    def reboot(self) -> None:
        """Pull its plug and boot it again; its disk stays. Docker starts when the plugin is ready, as by its unit."""
        processes.halt(processes.require(self.name), grace_s=0)
        self.start()

    def add_commands(self) -> None:
        """Have `docker` and `azure-cni` there by these names, for people who type in the VM."""
        for name, argv in (("docker", [f"{ENGINE}{CLIENT}"]), ("azure-cni", self._azure_cni()[:-1])):
            self._machine.write(f"{COMMANDS}/{name}", f'#!/bin/sh\nexec {shlex.join(argv)} "$@"\n', mode=0o755)

    def docker(self, *args: str) -> str:
        """Run Docker's command there; its output."""
        return self._machine.run([f"{ENGINE}{CLIENT}", *args])

    def run(self, *argv: str) -> str:
        """Run a command there; its output."""
        return self._machine.run(argv)

    def write(self, path: str, text: str) -> None:
        """Write a file there."""
        self._machine.write(path, text)

    def status(self) -> str:
        """What `azure-cni docker status` says; StepError unless a container can start."""
        return self._machine.run([*self._azure_cni(), "status"])

    def who(self, address: str) -> str:
        """What `azure-cni docker who` says of an address."""
        return self._machine.run([*self._azure_cni(), "who", address])

    def address(self, container: str, *, network: str) -> str:
        """The address of a container, as Docker shows it."""
        shown = json.loads(self.docker("inspect", container))[0]
        return str(shown["NetworkSettings"]["Networks"][network]["IPAddress"])

    def remove(self) -> None:
        """Take it away with its NIC, if it is there."""
        for process in reversed(processes.all_records()):
            if process.name == self.name or process.name.startswith(f"{self.name}-"):
                processes.stop(process, grace_s=0)
        azure.remove_vm(self.name)
        cgroups.remove(self.name)
        shutil.rmtree(self._machine.disk, ignore_errors=True)

    @staticmethod
    def _azure_cni() -> Sequence[str]:
        path = f"PYTHONPATH={processes.PYTHON_ENVIRONMENT['PYTHONPATH']}"
        return ["env", path, sys.executable, "-m", "azure_cni", "docker"]

    def _answers(self) -> bool:
        try:
            return bool(self.docker("version", "--format", "{{.Server.Version}}"))
        except StepError:
            return False

    def _ready(self) -> bool:
        try:
            return bool(self.status())
        except StepError:
            return False

    def _import_image(self) -> None:
        serve = f"CMD {json.dumps(SERVER[1:])}"
        self.docker("import", "--change", serve, str(self.packed_image()), IMAGE)

    def packed_image(self) -> Path:
        """The containers' file system as an archive; its path in the VM."""
        root = self._machine.disk / "var" / "image"
        (root / "bin").mkdir(parents=True, exist_ok=True)
        shutil.copy2(shutil.which("busybox") or "/bin/busybox", root / "bin")
        for applet in APPLETS:
            (root / "bin" / applet).unlink(missing_ok=True)
            (root / "bin" / applet).symlink_to("busybox")
        script = root / "www" / "cgi-bin" / "whoami"
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(WHOAMI)
        script.chmod(0o755)
        index = script.with_name("index.cgi")
        index.unlink(missing_ok=True)
        index.symlink_to(script.name)
        capture(["tar", "-C", str(root), "-cf", f"{root}.tar", "."], what="pack the image of containers")
        return Path("/var/image.tar")


def require_visible(*places: Path) -> None:
    """Raises: StepError for a place that a VM does not see, where what it is to run would be missing."""
    for place in places:
        if any(place.is_relative_to(own) for own in OWN_DIRECTORIES):
            raise StepError(
                f"cannot run Docker in a VM from {place}: a VM has {', '.join(map(str, OWN_DIRECTORIES))} of its own",
                advice="have the repository, and the cache (XDG_CACHE_HOME), in another directory, such as your home",
            )


def all_hosts() -> list[DockerHost]:
    """Every VM with Docker that was started, whatever became of it since."""
    return [DockerHost(process.name) for process in processes.all_records() if MACHINE.fullmatch(process.name)]


SERVER = (IMAGE, "/bin/httpd", "-f", "-p", f"0.0.0.0:{PORT}", "-h", "/www")
"""What a container runs that says who asks it."""


def engine_command(version: str) -> list[str]:
    """The command line of that dockerd, which is fetched or built where it is missing; and the client is fetched."""
    package = ensure_package()
    if version == VERSIONS[0]:
        return [f"{package}/usr/sbin/dockerd"]
    tools.ensure_tools((tools.CONTAINERD, tools.DOCKER))
    path = f"{tools.CONTAINERD.directory}:{processes.ENVIRONMENT['PATH']}"
    # Debian's runc 1.1 does not know the namespace.
    return ["env", f"PATH={path}", str(tools.path("dockerd")), "--feature", "time-namespaces=false"]


def ensure_package() -> Path:
    """Debian's package docker.io, unpacked in the cache."""
    return unpacked(ENGINE, ["docker.io"])


def unpacked(directory: Path, packages: Sequence[str]) -> Path:
    """That directory of the cache, with these packages of Debian unpacked in it, and not installed."""
    if not directory.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=CACHE) as temporary:
            fetch = f"apt-get -o APT::Sandbox::User=root download {' '.join(packages)}"
            unpack = "for package in *.deb; do dpkg-deb -x $package root; done"
            capture(["sh", "-ec", f"cd {temporary} && {fetch} && {unpack}"], what=f"fetch Debian's {packages[0]}")
            (Path(temporary) / "root").rename(directory)
    return directory
