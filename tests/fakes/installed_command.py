"""The command line as people install it: a wheel in an environment of its own, or one file. Nothing is fetched."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

from azurebox.facts import REPOSITORY
from single_file.build import build

UV = Path(sysconfig.get_path("scripts")) / "uv"
LONG_S = 300
"""A program that has not ended by then hangs."""


@dataclass(frozen=True)
class Installed:
    """Its programs are in `programs`; `cache` is its user's."""

    programs: Path
    cache: Path

    def run(self, *words: str, program: str = "azure-cni", **variables: str) -> subprocess.CompletedProcess[str]:
        """As a shell would, from a directory where nothing is."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environment |= {"XDG_CACHE_HOME": str(self.cache), "PATH": f"{self.programs}:{os.environ['PATH']}"} | variables
        return subprocess.run(
            [program, *words], env=environment, capture_output=True, text=True, cwd="/", timeout=LONG_S, check=False
        )


def one_file(directory: Path) -> Installed:
    """Built from this environment's packages, started by its Python."""
    build(directory / "bin")
    (directory / "bin" / "python3").symlink_to(sys.executable)
    return Installed(directory / "bin", directory / "cache")


def from_wheel(directory: Path) -> Installed:
    """The wheel alone; what it depends on is this environment's, behind it."""
    wheels = directory / "wheels"
    build_words: list[str | Path] = [UV, "build", "-q", "--offline", "--wheel", "-o", wheels, REPOSITORY]
    built = subprocess.run(build_words, capture_output=True, text=True, timeout=LONG_S, check=False)
    if "hatchling" in built.stderr:
        pytest.skip(f"the wheel's build system is not in uv's cache: `make wheel` fetches it ({built.stderr.strip()})")
    assert built.returncode == 0, built.stderr
    home = directory / "environment"
    venv.create(home, with_pip=False, symlinks=True)
    (wheel,) = wheels.glob("*.whl")
    python = home / "bin" / "python"
    words: list[str | Path] = [UV, "pip", "install", "-q", "--offline", "--no-deps", "--python", python, wheel]
    subprocess.run(words, check=True, capture_output=True, timeout=LONG_S)
    (packages,) = home.glob("lib/python*/site-packages")
    (packages / "behind.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return Installed(home / "bin", directory / "cache")
