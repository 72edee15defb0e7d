"""The process of `datapath.docker_vm`, seen from the test: started, asked by its own commands, and ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from click.testing import CliRunner

from azure_cni.entrypoints.cli import main
from datapath.namespaces import Namespace, Namespaces

STARTED_S = 30.0


class DockerVm:
    """The process and its namespace."""

    def __init__(
        self,
        namespaces: Namespaces,
        directory: Path,
        *options: str,
        node: Namespace | None = None,
        module: str = "datapath.docker_vm",
        under: Sequence[str] = (),
        serves: str = "plugin.sock",
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`under`: a command that runs the one that follows it. `serves`: the socket that is there once it is up.
        `variables`: of its environment.
        """
        self.node, self.directory = node or namespaces.new("vm"), directory
        self.socket = directory / serves
        self.socket.unlink(missing_ok=True)  # of a process that was killed
        self.log = (directory / "log").open("ab")
        command = [
            "nsenter",
            f"--net={self.node.path}",
            *under,
            sys.executable,
            "-m",
            module,
            str(directory),
            *options,
        ]
        environment = os.environ | {"PYTHONPATH": ":".join(sys.path)} | dict(variables)
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env=environment)
        deadline_s = time.monotonic() + STARTED_S
        while not self.socket.exists():
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline_s, self.said
            time.sleep(0.05)

    @property
    def said(self) -> str:
        return (self.directory / "log").read_text()

    def status(self, *options: str) -> tuple[int, str]:
        return self.asked("status", *options)

    def asked(self, *words: str) -> tuple[int, str]:
        """One of the plugin's own commands: its exit code, and what it says."""
        command = ["docker", "--config", str(self.directory / "docker.toml"), *words]
        done = CliRunner().invoke(main, command)
        return done.exit_code, done.output

    def kill(self) -> None:
        """End it with no word, if it runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=30)
        self.log.close()
        return code
