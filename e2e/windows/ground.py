"""What a Windows node of the tests consists of, made once and kept in the cache beside the box's tools.

    libraries/   computenetwork.dll, a client of the stand-in for HNS, bcryptprimitives.dll and stop.exe, from C
    python/      CPython for Windows, from the same Go module as in Dockerfile.windows, by its checksum in go.sum
    site/        the packages of requirements/dev.txt as Windows has them, by the checksums there
    prefix/      a fresh Windows of Wine's with these libraries in System32; each node gets a copy

All of it comes from the registries of Debian, Go and Python. It lies under a name with a hash of what decides it, and
appears there when it is whole. Beside it are two programs that are built for each run: the plugin, azure-cni.exe, and
Microsoft's library for HNS as oracle.exe.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from azurebox import host, tools
from azurebox.facts import CACHE, REPOSITORY
from azurebox.steps import capture, run, step
from image_root.windows_python import unpack
from windows import wine

SOURCES: Final = Path(__file__).with_name("libraries")
MODULE: Final = REPOSITORY / "operator" / "image_root" / "python"
LOCK: Final = REPOSITORY / "requirements" / "dev.txt"
PLUGIN: Final = REPOSITORY / "operator" / "cni-plugin"
ORACLE: Final = Path(__file__).with_name("oracle")
_COMPILER: Final = "x86_64-w64-mingw32-gcc"
_IN_SYSTEM32: Final = ("bcryptprimitives.dll", "computenetwork.dll")
_PROGRAMS: Final = ("stop.exe",)
_REGISTRY_OF_PACKAGES: Final = "look whether the registry of Python packages is reachable, then run this again"

NOT_NEEDED: Final = frozenset({
    "contourpy", "cycler", "deptry", "fonttools", "grimp", "import-linter", "kiwisolver", "librt", "matplotlib", "mypy",
    "numpy", "pillow", "pyparsing", "ruff", "uv",
})  # fmt: skip
"""Of the lock file: what checks code and draws pictures."""


@dataclass(frozen=True, slots=True)
class Ground:
    """Where it is."""

    directory: Path

    @property
    def python(self) -> Path:
        """The interpreter."""
        return self.directory / "python" / "python.exe"

    @property
    def site(self) -> Path:
        """The packages."""
        return self.directory / "site"

    @property
    def prefix(self) -> Path:
        """To be copied, never to be used."""
        return self.directory / "prefix"

    @property
    def plugin(self) -> Path:
        """The binary for Windows, as the sources are now."""
        return self.directory / "azure-cni.exe"

    @property
    def oracle(self) -> Path:
        """Microsoft's own library for HNS as a program: oracle/main.go says what it does."""
        return self.directory / "oracle.exe"

    @property
    def stop(self) -> Path:
        """A program that asks others of a name to end."""
        return self.directory / "libraries" / "stop.exe"


def ensure() -> Ground:
    """All of it, made as far as it is missing. StepError."""
    host.ensure_packages(wine.PACKAGES)
    CACHE.mkdir(parents=True, exist_ok=True)
    with _alone():
        ground = Ground(CACHE / f"windows-{_key()}")
        if not ground.directory.exists():
            _make(ground)
        with step("the plugin for Windows, and hcsshim as a program"):
            _build(PLUGIN, ground.plugin)
            _build(ORACLE, ground.oracle)
    return ground


def of_windows(lock: str) -> str:
    """The lock file without what no test on Windows needs."""
    entries = re.split(r"^(?=\S)", lock, flags=re.MULTILINE)
    return "".join(one for one in entries if one.partition("==")[0].strip() not in NOT_NEEDED)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    with (CACHE / ".windows.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _key() -> str:
    version = capture(["wine", "--version"], what="ask Wine for its version")
    digest = hashlib.sha256(version.encode())
    for file in (*sorted(SOURCES.iterdir()), MODULE / "go.sum", LOCK, Path(__file__)):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _make(ground: Ground) -> None:
    for old in CACHE.glob("windows-*"):
        shutil.rmtree(old)
    partial = Ground(CACHE / ".windows.partial")
    shutil.rmtree(partial.directory, ignore_errors=True)
    partial.directory.mkdir()
    with step("libraries for Wine, from C"):
        _compile(partial.directory / "libraries")
    with step("CPython for Windows"):
        unpack(_data() / "windows-amd64", partial.directory / "python")
        # What platform.platform() asks first; Wine has no answer, and ends the process.
        (partial.directory / "python" / "DLLs" / "_wmi.pyd").unlink()
    with step("Python packages for Windows"):
        _install(partial.site)
    with step("a Windows of Wine's"):
        _boot(partial)
    partial.directory.rename(ground.directory)


def _compile(target: Path) -> None:
    target.mkdir()
    for name in (*_IN_SYSTEM32, *_PROGRAMS):
        source = SOURCES / f"{name.partition('.')[0]}.c"
        shared = ["-shared"] if name in _IN_SYSTEM32 else []
        run(
            [_COMPILER, "-Wall", "-Wextra", "-Werror", "-O2", "-s", *shared, "-o", target / name, source,
             "-lws2_32", "-lole32", "-ladvapi32"],
            log=f"windows-{name}",
            what=f"compile {name}",
        )  # fmt: skip


def _data() -> Path:
    """What the Go module of CPython has, by system."""
    go, environ = tools.go_command("go")
    run(
        [go, "mod", "download"],
        log="windows-python",
        what="fetch CPython for Windows",
        advice="look whether the Go module proxy is reachable (go env GOPROXY), then run this again",
        cwd=MODULE,
        env=environ,
    )
    module = "github.com/kluctl/go-embed-python"
    found = capture([go, "-C", MODULE, "list", "-m", "-f", "{{.Dir}}", module], what=f"find {module}", env=environ)
    return Path(found.strip()) / "python" / "internal" / "data"


def _install(site: Path) -> None:
    """With uv, which reads the lock file's markers as Windows would; pip reads them as this machine."""
    wanted = site.with_name("packages.txt")
    wanted.write_text(of_windows(LOCK.read_text()))
    run(
        [Path(sys.executable).with_name("uv"), "pip", "install", "--quiet", "--target", site,
         "--python-platform", "x86_64-pc-windows-msvc", "--python-version", "3.14", "--only-binary", ":all:",
         "--no-deps", "--require-hashes", "--requirements", wanted],
        log="windows-packages",
        what="install the Python packages for Windows",
        advice=_REGISTRY_OF_PACKAGES,
    )  # fmt: skip


def _boot(ground: Ground) -> None:
    environ = wine.environment(ground.prefix)
    ground.prefix.mkdir()
    run(["wineboot", "--init"], log="windows-boot", what="make a Windows of Wine's", env=environ, timeout_s=300)
    run(["wineserver", "--wait"], log="windows-boot", what="end it again", env=environ, timeout_s=300)
    for name in _IN_SYSTEM32:
        shutil.copy(ground.directory / "libraries" / name, ground.prefix / "drive_c" / "windows" / "system32")


def _build(source: Path, program: Path) -> None:
    """A program of Go, as its sources are now. Go itself knows whether there is anything to do."""
    go, environ = tools.go_command("go")
    run(
        [go, "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version=0.1.0", "-o", program, "."],
        log=f"windows-{program.stem}",
        what=f"build {program.name}",
        cwd=source,
        env={**environ, "CGO_ENABLED": "0", "GOOS": "windows", "GOARCH": "amd64"},
    )
