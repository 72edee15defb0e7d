"""A VM with podman and without Kubernetes: Debian's podman 4.3 with its CNI backend, and azure-cni from these sources.

podman comes from Debian's packages, unpacked in the cache and not installed. The CNI binary is the one that the product
installed on the first node.
"""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from azurebox import cgroups, lifecycle
from azurebox.docker_host import IMAGE, SETTINGS, STARTED_S, DockerHost, unpacked
from azurebox.facts import AZURE_CA, CACHE, node_name
from azurebox.machine import Machine
from azurebox.steps import StepError, wait_for

ENGINE = CACHE / "podman"
PACKAGES = (
    "podman", "conmon", "catatonit", "golang-github-containers-common", "libgpgme11", "libassuan0", "libsubid4",
)  # fmt: skip
NETWORK = "azure-cni"
CNI = """\
[cni]
enabled = true
plugin = "/opt/azure-cni"
chainPortmap = false
"""
CONF = f"""\
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
conmon_path = ["{ENGINE}/usr/bin/conmon"]
helper_binaries_dir = ["{ENGINE}/usr/bin"]
[network]
network_backend = "cni"
network_config_dir = "/etc/cni/net.d"
cni_plugin_dirs = ["/opt/cni/bin"]
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
init_path = "{ENGINE}/usr/bin/catatonit"
seccomp_profile = "{ENGINE}/usr/share/containers/seccomp.json"
"""
POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}\n'


@dataclass(frozen=True, slots=True)
class PodmanHost:
    """One such VM by its name, such as `azbox-docker3`: as to the plugin, it is one with Docker."""

    name: str
    plugin: DockerHost = field(init=False)
    _machine: Machine = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "plugin", DockerHost(self.name))
        object.__setattr__(self, "_machine", Machine(self.name))

    def start(self) -> None:
        """Boot it, with the plugin and the image."""
        ensure_podman()
        binary = Machine(node_name(1)).disk / "opt/cni/bin/azure-cni"
        if not binary.exists():
            raise StepError(f"cannot start {self.name}: there is no {binary}", advice="e2e/box install")
        machine, _ = lifecycle.start_machine(self.name)
        cgroups.ensure(self.name)
        shutil.copy2(binary, machine.disk / "opt/azure-cni")
        machine.write("/etc/azure-cni/ca.pem", AZURE_CA.read_text())
        machine.write("/etc/azure-cni/docker.toml", SETTINGS + CNI)
        machine.write("/etc/containers/containers.conf", CONF)
        machine.write("/etc/containers/policy.json", POLICY)
        self.plugin.start_plugin()
        wait_for(self._has_network, timeout_s=STARTED_S, what=f"the conflist of {self.name} to be there")
        self.podman("import", str(self.plugin.packed_image()), IMAGE)

    def _has_network(self) -> bool:
        return any((self._machine.disk / "etc/cni/net.d").glob("*.conflist"))

    def podman(self, *args: str) -> str:
        """Run podman there; its output."""
        libraries = f"LD_LIBRARY_PATH={ENGINE}/usr/lib/x86_64-linux-gnu"
        return self._machine.run(["env", libraries, f"{ENGINE}/usr/bin/podman", "--storage-driver=vfs", *args])

    def run_container(self, name: str, *options: str, command: tuple[str, ...]) -> None:
        """Start a container on the VNet."""
        options = ("--name", name, "--network", NETWORK, f"--cgroup-parent=/{self.name}", *options)
        self.podman("run", "-d", *options, f"localhost/{IMAGE}", *command)

    def address(self, container: str) -> str:
        """The address of a container, as podman shows it."""
        shown = json.loads(self.podman("inspect", container))[0]
        return str(shown["NetworkSettings"]["Networks"][NETWORK]["IPAddress"])

    def remove(self) -> None:
        """Take it away with its NIC, if it is there."""
        self.plugin.remove()


def ensure_podman() -> Path:
    """Debian's packages, unpacked in the cache."""
    return unpacked(ENGINE, PACKAGES)
