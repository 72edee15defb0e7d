"""Builds the Debian package of `azure-cni docker` from the project's own files: `make deb`.

The package brings its Python packages, pinned by requirements/agent.txt, in a virtual environment below
/usr/lib/azure-cni: Debian's own are older than what the product needs (aiohttp, cryptography, kopf), or are not there
(msgspec). The interpreter is Debian's, the one with which this program runs: extensions and bytecode are for that one.
It is named with its minor version, so that the next release of Debian takes nothing away. Nothing is fetched when the
package is installed.
"""

import argparse
import gzip
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

from image_root import trim

REPOSITORY = Path(__file__).resolve().parents[2]
FILES = Path(__file__).with_name("files")
HOME = Path("usr/lib/azure-cni")
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
SITE = HOME / "lib" / PYTHON / "site-packages"
MAINTAINER = "azure-cni maintainers <noreply@azure-cni.io>"
CNI_BINARY = Path("usr/libexec/azure-cni/azure-cni")
CONFFILE = "etc/azure-cni/docker.toml"
PAGE = "azure-cni-docker.8"
SCRIPTS = ("postinst", "prerm", "postrm")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# Where each file goes that is not made here.
PLACES = {
    "docker.toml": CONFFILE,
    "azure-cni-docker.service": "lib/systemd/system/azure-cni-docker.service",
    "copyright": "usr/share/doc/azure-cni/copyright",
    "lintian-overrides": "usr/share/lintian/overrides/azure-cni",
}
# How and from where pip installed each package: paths of the machine that built it.
OF_PIP = tuple(f"*.dist-info/{name}" for name in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json"))
LAUNCHER = """\
#!/usr/lib/azure-cni/bin/python -I
import sys

from azure_cni.entrypoints.cli import main

sys.exit(main())
"""
# With nothing on the path but the packages and, behind them, this directory.
IMPORT_ALL = """\
import sys
sys.path[:] = [*sys.path, *sys.argv[1:]]
import azure_cni
from image_root.check import import_faults, modules_of
sys.exit("\\n".join(f"cannot build: {fault}" for fault in import_faults(list(modules_of(azure_cni)))) or 0)
"""
ENVIRONMENT = f"""\
home = /usr/bin
include-system-site-packages = false
version = {platform.python_version()}
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Build the package, and print its path and its size."""
    parser = argparse.ArgumentParser(description="Build the Debian package of azure-cni docker.")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "dist", help="the directory for the package")
    parser.add_argument("--work", type=Path, default=REPOSITORY / "build" / "deb", help="a directory to work in")
    parser.add_argument("--revision", default="1", help="the Debian revision: the part of the version after the dash")
    chosen = parser.parse_args(arguments)
    package = build(chosen.work, chosen.output, version=f"{version()}-{chosen.revision}", fill=fill_tree)
    print(f"{package}: {package.stat().st_size / 2**20:.1f} MiB, {size_kib(chosen.work / 'root') / 1024:.0f} unpacked")


def build(work: Path, output: Path, *, version: str, fill: Callable[[Path, Path], None]) -> Path:
    """The package of this version, in `output`. `fill` puts what is compiled into the tree, with `work` for itself.

    OSError or CalledProcessError when a step fails.
    """
    root = work / "root"
    shutil.rmtree(root, ignore_errors=True)
    (root / SITE).mkdir(parents=True)
    fill(root, work)
    lay_environment(root)
    lay_files(root, version=version)
    lay_control(root, version=version)
    output.mkdir(parents=True, exist_ok=True)
    package = output / f"azure-cni_{version}_{architecture()}.deb"
    run("dpkg-deb", "--root-owner-group", "-Zxz", "--build", str(root), str(package), env=dated())
    return package


def fill_tree(root: Path, work: Path) -> None:
    """The Python packages, and the CNI binary, which the plugin installs where `cni.enabled` is set."""
    fill_environment(root / SITE, work)
    (root / CNI_BINARY).parent.mkdir(parents=True)
    version_of_it = f"-s -w -X main.version={version()}"
    flags = ("-trimpath", "-buildvcs=false", "-ldflags", version_of_it, "-o", str(root / CNI_BINARY))
    run("e2e/box", "go", "-C", "operator/cni-plugin", "build", *flags, ".", env=os.environ | {"CGO_ENABLED": "0"})


def fill_environment(site: Path, work: Path) -> None:
    """Install the pinned packages and the product there: no tests, no symbols for debuggers, bytecode for all."""
    tools, wheels = work / "tools", work / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    pinned = ("--no-deps", "--require-hashes", "--only-binary", ":all:")
    pip("install", "--no-compile", "--target", str(site), *pinned, "-r", "requirements/agent.txt")
    trim.remove(site, ["bin"])
    pip("install", "--upgrade", "--no-compile", "--target", str(tools), *pinned, "-r", "requirements/build.txt")
    backend = os.environ | {"PYTHONPATH": str(tools)}
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), ".", env=backend)
    pip("install", "--no-compile", "--no-deps", "--no-index", "--target", str(site), *map(str, wheels.glob("*.whl")))
    trim.remove(site, (*trim.DISTRIBUTIONS, *OF_PIP, "bin", "**/.gitignore"))
    if shutil.which("strip"):
        run("strip", "--strip-unneeded", *map(str, site.rglob("*.so")))
    # Unchecked: whatever changes the times of files must not make it useless. Without it a start takes seconds.
    places = ("-s", str(site), "-p", f"/{SITE}", "--invalidation-mode", "unchecked-hash")
    run(sys.executable, "-m", "compileall", "-q", "-j", "0", *places, str(site))
    run(sys.executable, "-ISB", "-c", IMPORT_ALL, str(site), str(REPOSITORY / "operator"))


def lay_environment(root: Path) -> None:
    """The virtual environment around the packages, and the command."""
    programs = root / HOME / "bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to(f"../../../bin/{PYTHON}")
    write(root / HOME / "pyvenv.cfg", ENVIRONMENT)
    write(programs / "azure-cni", LAUNCHER, mode=0o755)
    command = root / "usr/bin/azure-cni"
    command.parent.mkdir(parents=True)
    command.symlink_to("../lib/azure-cni/bin/azure-cni")


def lay_files(root: Path, *, version: str) -> None:
    """Unit, settings, manual page, documents."""
    for name, place in PLACES.items():
        write(root / place, (FILES / name).read_text())
    documents = root / "usr/share/doc/azure-cni"
    write(documents / "docker.md", (REPOSITORY / "docs/docker.md").read_text())
    changes = f"azure-cni ({version}) unstable; urgency=medium\n\n  * See changelog.gz.\n\n -- {MAINTAINER}  {date()}\n"
    compress(documents / "changelog.Debian.gz", changes)
    compress(documents / "changelog.gz", (REPOSITORY / "CHANGELOG.md").read_text())
    manual = root / "usr/share/man/man8"
    compress(manual / f"{PAGE}.gz", (FILES / PAGE).read_text().replace("@VERSION@", version))
    (manual / "azure-cni.8.gz").symlink_to(f"{PAGE}.gz")


def lay_control(root: Path, *, version: str) -> None:
    """What dpkg reads: the description, the scripts, and the sums of the files."""
    facts = {
        "VERSION": version,
        "ARCHITECTURE": architecture(),
        "SIZE": str(size_kib(root)),
        "MAINTAINER": MAINTAINER,
        "PYTHON": PYTHON,
        "GLIBC": glibc(root / SITE),
    }
    control = (FILES / "control").read_text()
    for name, value in facts.items():
        control = control.replace(f"@{name}@", value)
    sums = [f"{digest(path)}  {path.relative_to(root)}" for path in regular_files(root)]
    directory = root / "DEBIAN"
    write(directory / "control", control)
    write(directory / "conffiles", f"/{CONFFILE}\n")
    write(directory / "md5sums", "\n".join(sums) + "\n")
    for name in SCRIPTS:
        write(directory / name, (FILES / name).read_text(), mode=0o755)


def version() -> str:
    """The project's."""
    return str(tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"])


def architecture() -> str:
    """Of this machine, as Debian names it."""
    machine = platform.machine()
    return ARCHITECTURES.get(machine, machine)


def glibc(site: Path) -> str:
    """The oldest C library that all extensions there can do with, by the tags of their wheels: manylinux_2_28."""
    needed = [(2, 17)]
    for wheel in site.glob("*.dist-info/WHEEL"):
        offered = [(2, int(minor)) for minor in re.findall(r"manylinux_2_(\d+)", wheel.read_text())]
        needed += [min(offered)] if offered else []
    return "{}.{}".format(*max(needed))


def regular_files(root: Path) -> Iterator[Path]:
    """All of them below a directory, in order; no links."""
    return (path for path in sorted(root.rglob("*")) if path.is_file() and not path.is_symlink())


def size_kib(root: Path) -> int:
    """What the files below take on a disk, KiB."""
    return sum(-(-path.stat().st_size // 1024) for path in regular_files(root))


def digest(path: Path) -> str:
    """As the file md5sums has it: against accidents, not against people."""
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def write(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Write a file, its directories made as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def compress(path: Path, text: str) -> None:
    """Write a file for gunzip, alike at each build."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
    path.chmod(0o644)


def dated() -> dict[str, str]:
    """The environment for dpkg-deb: no file is younger than the package, so that a build can be repeated."""
    return os.environ | {"SOURCE_DATE_EPOCH": str(epoch())}


def date() -> str:
    """The package's, as changelogs have it."""
    return format_datetime(datetime.fromtimestamp(epoch(), UTC))


def epoch() -> int:
    """The package's date, seconds since 1970: SOURCE_DATE_EPOCH, else of the last commit; 0 outside a repository."""
    return int(os.environ.get("SOURCE_DATE_EPOCH") or commit("%ct") or 0)


def commit(form: str) -> str:
    """Something about the last commit; "" outside a repository."""
    command = ["git", "-C", str(REPOSITORY), "log", "-1", f"--format={form}"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def pip(*arguments: str, env: dict[str, str] | None = None) -> None:
    """Run pip of this Python, in the repository."""
    run(sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments, env=env)


def run(*command: str, env: dict[str, str] | None = None) -> None:
    """Run a program in the repository; CalledProcessError when it fails, its complaint on standard error."""
    subprocess.run(command, cwd=REPOSITORY, env=env, check=True)


if __name__ == "__main__":
    main()
