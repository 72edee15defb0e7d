"""Docker on a node of the cluster, beside the kubelet's runtime. It makes no bridge and no rules of its own."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from azurebox import processes
from azurebox.docker_host import DAEMON, IMAGE, STARTED_S, DockerHost, engine_command
from azurebox.machine import Machine
from azurebox.steps import StepError

ENGINE_SOCKET = "/run/docker-api/docker.sock"


@dataclass(frozen=True, slots=True)
class NodeDocker(DockerHost):
    """Docker on one node, such as `azbox-vm1`. The plugin is the node's agent, which may ask it at ENGINE_SOCKET."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_machine", Machine(self.name))

    def start_daemon(self, *settings: str) -> None:
        """Start dockerd, and wait until it answers; then the image, unless it is there."""
        listens = ["--host=unix:///run/docker.sock", f"--host=unix://{ENGINE_SOCKET}"]
        self.run("mkdir", "-p", str(Path(ENGINE_SOCKET).parent))
        options = [*listens, "--data-root=/var/lib/docker", "--bridge=none", "--iptables=false", "--ip-forward=false"]
        daemon = [*engine_command(self.version), *options, f"--cgroup-parent=/{self.name}", *settings]
        process = self._machine.service(DAEMON, daemon)
        processes.wait_until(process, self._answers, timeout_s=STARTED_S, what=f"dockerd of {self.name} to answer")
        if not self.docker("image", "ls", "-q", IMAGE).strip():
            self._import_image()

    def remove(self) -> None:
        """Take Docker away with its containers and networks, if it is there; the node stays."""
        try:
            if containers := self.docker("ps", "-aq").split():
                self.docker("rm", "-f", *containers)
            for network in self.docker("network", "ls", "-q", "--filter", "driver=azure-cni").split():
                self.docker("network", "rm", network)
        except StepError:
            pass  # it does not answer, and is taken away as it is
        for process in processes.all_records():
            if process.name == f"{self.name}-{DAEMON}":
                processes.stop(process, grace_s=10)
        shutil.rmtree(self._machine.disk / "var/lib/docker", ignore_errors=True)
