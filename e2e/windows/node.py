"""One Windows node: its own copy of the ground's prefix, its wineserver, and the programs that run there.

The wineserver makes the sockets of all programs, so the node is in the network namespace in which it was started. It is
a child of this process in the foreground, and a program that waits keeps Windows' own services running beside it: with
neither, the node would boot for each program.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from azurebox.facts import REPOSITORY
from azurebox.steps import StepError, wait_for
from windows.ground import Ground
from windows.wine import environment, windows_path

BOOT_S: Final = 300.0


class WindowsNode:
    """`directory` is the node's alone."""

    def __init__(self, ground: Ground, directory: Path) -> None:
        self._ground = ground
        self._prefix = directory / "prefix"
        self._server: subprocess.Popen[bytes] | None = None
        self._keeper: subprocess.Popen[bytes] | None = None

    def make(self) -> None:
        """Of the ground's prefix. Files are links to those there, but for the registry's, which are written over."""
        shutil.copytree(self._ground.prefix, self._prefix, symlinks=True, copy_function=os.link)
        for file in self._ground.prefix.glob("*.reg"):
            (self._prefix / file.name).unlink()
            shutil.copy(file, self._prefix)

    def boot(self) -> None:
        """Turn it on."""
        self._server = self._start("wineserver", "--foreground", "--persistent")
        time.sleep(0.2)  # else the first program starts a server of its own
        self._keeper = self._start("wine", "cmd.exe", "/k")
        wait_for(self._answers, timeout_s=BOOT_S, what="the node to boot")

    def power_off(self) -> None:
        """All programs end at once, and what is in memory alone is lost."""
        subprocess.run(["wineserver", "--kill"], env=self._environment(), check=False, timeout=BOOT_S)
        for process in (self._keeper, self._server):
            if process is not None:
                process.kill()
                process.wait()
        self._keeper = self._server = None

    def python(self, *arguments: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
        """The interpreter to its end, in the repository's directory. It takes pipes for its output, and no files."""
        paths = ";".join(map(windows_path, (self._ground.site, REPOSITORY / "operator")))
        return subprocess.run(
            ["wine", self._ground.python, *arguments],
            cwd=REPOSITORY,
            env=self._environment(PYTHONPATH=paths),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout_s,
        )

    def _answers(self) -> bool:
        for process in (self._server, self._keeper):
            if process is not None and process.poll() is not None:
                raise StepError(f"cannot boot the node: {process.args!r} has ended with {process.returncode}")
        return self._start("wine", "cmd.exe", "/c", "exit 7").wait(BOOT_S) == 7

    def _start(self, *argv: str) -> subprocess.Popen[bytes]:
        """No output, for Windows' services keep it open as long as they run."""
        return subprocess.Popen(
            argv, env=self._environment(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def _environment(self, **more: str) -> Mapping[str, str]:
        return environment(self._prefix, **more)
