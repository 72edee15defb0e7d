"""One Windows node: its own copy of the ground's prefix, its wineserver, and the programs that run there.

The wineserver makes the sockets of all programs, so the node is in the network namespace in which it was started. It is
a child of this process in the foreground, and a program that waits keeps Windows' own services running beside it: with
neither, a node would boot for each call of the plugin.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from azure_cni.cni.systems import WINDOWS
from azurebox.facts import REPOSITORY
from azurebox.steps import StepError, wait_for
from windows.ground import Ground
from windows.wine import ERRORS, RUN, environment, file_of, windows_path

SERVICE_ACCOUNT: Final = r"C:\var\run\secrets\kubernetes.io\serviceaccount"
BOOT_S: Final = 300.0
CALL_S: Final = 120.0


class Outcome(NamedTuple):
    """What a runtime sees of one call of the plugin: how it ended, what it said, and after how long.

    `unreadable`: what it printed, if that is no JSON.
    """

    status: int
    said: dict[str, Any]
    took_s: float
    unreadable: str = ""

    @property
    def code(self) -> int:
        """Of an error. StepError: the call ended without one, which a runtime cannot read."""
        if "code" not in self.said:
            raise StepError(f"the plugin ended with {self.status} after {self.took_s:.3f} s, and said {self}")
        return int(self.said["code"])

    @property
    def address(self) -> str:
        """Of an ADD."""
        return str(self.said["ips"][0]["address"]).partition("/")[0]


class WindowsNode:
    """`directory` is the node's alone. `service_port`: where the stand-in for HNS listens."""

    def __init__(self, ground: Ground, directory: Path, *, service_port: int) -> None:
        self.ground = ground
        self._directory = directory
        self._service_port = service_port
        self._server: subprocess.Popen[bytes] | None = None
        self._keeper: subprocess.Popen[bytes] | None = None
        self.agent: subprocess.Popen[bytes] | None = None
        self.agent_log = directory / "agent.log"

    @property
    def prefix(self) -> Path:
        """Where its drive C: and its registry are."""
        return self._directory / "prefix"

    def make(self) -> None:
        """Of the ground's prefix. Files are links to those there, but for the registry's, which are written over."""
        shutil.copytree(self.ground.prefix, self.prefix, symlinks=True, copy_function=os.link)
        for file in self.ground.prefix.glob("*.reg"):
            (self.prefix / file.name).unlink()
            shutil.copy(file, self.prefix)
        for directory in (WINDOWS.bin_dir, WINDOWS.conf_dir, SERVICE_ACCOUNT):
            self.file(directory).mkdir(parents=True)
        plugin = self.file(WINDOWS.plugin)
        plugin.parent.mkdir(parents=True)
        shutil.copy(self.ground.plugin, plugin)

    def file(self, name: str) -> Path:
        """The file of this machine that the node calls so."""
        return file_of(self.prefix, name)

    def environment(self, **more: str) -> Mapping[str, str]:
        """Of a program that runs on it."""
        return environment(self.prefix, FAKEHNS_PORT=str(self._service_port), **more)

    def boot(self) -> None:
        """Turn it on."""
        self._server = self._start("wineserver", "--foreground", "--persistent")
        time.sleep(0.2)  # else the first program starts a server of its own
        self._keeper = self._start(*RUN, "cmd.exe", "/k")
        wait_for(self._answers, timeout_s=BOOT_S, what="the node to boot")

    def power_off(self) -> None:
        """All programs end at once, and what is in memory alone is lost."""
        if self._server is None:
            return
        subprocess.run(["wineserver", "--kill"], env=self.environment(), check=False, timeout=BOOT_S)
        for process in (self.agent, self._keeper, self._server):
            if process is not None:
                process.kill()
                process.wait()
        self.agent = self._keeper = self._server = None

    def start_agent(self, settings: Mapping[str, str]) -> None:
        """As the container runtime does; `settings` are variables of the environment."""
        paths = ";".join(map(windows_path, (self.ground.site, REPOSITORY / "operator")))
        self.agent = agent = subprocess.Popen(
            [*RUN, self.ground.python, "-m", "azure_cni", "agent"],
            cwd=self.prefix / "drive_c",
            env=self.environment(PYTHONPATH=paths, PYTHONUNBUFFERED="1", **settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,  # Python for Windows takes no file here
            stderr=subprocess.STDOUT,
        )
        threading.Thread(target=self._keep, args=(agent,), daemon=True).start()

    def plugin(self, verb: str, container: str = "", netns: str = "", **changes: Any) -> Outcome:
        """As containerd calls it, with what it makes of the conflist. `changes`: entries of the config."""
        conflist = json.loads((self.file(WINDOWS.conf_dir) / "10-azure-cni.conflist").read_text())
        config = conflist["plugins"][0] | {"cniVersion": conflist["cniVersion"], "name": conflist["name"]} | changes
        about = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": netns,
            "CNI_IFNAME": "eth0" if container else "",
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={container}" if container else "",
            "CNI_PATH": WINDOWS.bin_dir,
        }
        began = time.monotonic()
        done = subprocess.run(
            [*RUN, WINDOWS.bin_dir + r"\azure-cni.exe"],
            input=json.dumps(config),
            env=self.environment(**{name: value for name, value in about.items() if value}, WINEDEBUG=ERRORS),
            capture_output=True,
            text=True,
            check=False,
            timeout=CALL_S,
        )
        took_s = time.monotonic() - began
        if done.stdout.startswith("{"):
            return Outcome(done.returncode, json.loads(done.stdout), took_s)
        # Of a file that is no program Wine says so, in its own words.
        return Outcome(done.returncode, {}, took_s, done.stdout + done.stderr)

    def run(self, program: Path, *arguments: str, stdin: str = "", **environ: str) -> str:
        """A program of the node to its end; what it printed. StepError."""
        done = subprocess.run(
            [*RUN, program, *arguments],
            env={**self.environment(), **environ},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=CALL_S,
        )
        if done.returncode:
            raise StepError(f"cannot run {program.name}: it ended with {done.returncode}", output=done.stderr)
        return done.stdout

    def python(self, *arguments: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
        """The interpreter to its end, in the repository's directory. It takes pipes for its output, and no files."""
        paths = ";".join(map(windows_path, (self.ground.site, REPOSITORY / "operator")))
        return subprocess.run(
            [*RUN, self.ground.python, *arguments],
            cwd=REPOSITORY,
            env=self.environment(PYTHONPATH=paths),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout_s,
        )

    def _keep(self, agent: subprocess.Popen[bytes]) -> None:
        """What an agent says, in the log."""
        assert agent.stdout is not None
        with self.agent_log.open("ab", buffering=0) as log:
            log.write(b"--- an agent starts\n")
            for line in agent.stdout:
                log.write(line)

    def _answers(self) -> bool:
        for process in (self._server, self._keeper):
            if process is not None and process.poll() is not None:
                raise StepError(f"cannot boot the node: {process.args!r} has ended with {process.returncode}")
        exits = self._start(*RUN, "cmd.exe", "/c", "exit 7")
        return exits.wait(BOOT_S) == 7

    def _start(self, *argv: str) -> subprocess.Popen[bytes]:
        """No output, for Windows' services keep it open as long as they run."""
        return subprocess.Popen(
            argv, env=self.environment(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
