"""Finds out whether the trimmed root directory of the image still has what the agent and the controller need.

The Dockerfile runs it with the agent's own Python after trim.py, so an image that lacks something is never built: every
module of the product can be imported, every Python extension finds its libraries, every module has bytecode that is
used whatever the times of the files, the agent's command line, the CNI plugin and nft run, there are certificate
authorities, and there is no shell. As there is none, this is also what takes the build's own files away (`--remove`).

The last line says what was tried and on which processor: most of the image for another one is made without ever running
there, so this is where it runs for the first time.
"""

import ctypes
import importlib
import importlib.util
import os
import pkgutil
import platform
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

import azure_cni

AGENT, PLUGIN = "/opt/azure-cni/bin/azure-cni", "/usr/libexec/azure-cni/azure-cni"
DIRECTORIES = (Path("/opt/azure-cni/lib"), *Path("/usr/lib").glob("python3.*"))
ABSENT = ("sh", "bash", "dash", "busybox", "perl", "apt", "apt-get", "dpkg", "pip", "tar", "curl", "wget")
"""What whoever got into a container would use first."""
NO_NETLINK = "Unable to initialize Netlink socket: Protocol not supported"
"""What nft says, whatever it is asked, where QEMU's user mode runs it: it has found all its libraries, and started."""

UNCHECKED = 1  # flags of a .pyc file: found by its hash, which is never compared (PEP 552)


def main() -> int:
    """Look at everything; the exit status."""
    modules, extensions = list(modules_of(azure_cni)), list(extensions_in(DIRECTORIES))
    faults = [*import_faults(modules), *extension_faults(extensions), *bytecode_faults(DIRECTORIES)]
    if not ssl.create_default_context().cert_store_stats()["x509_ca"]:
        faults.append("there are no certificate authorities")
    faults += program_faults("nft", "--version", excused=NO_NETLINK)
    faults += program_faults(AGENT, "agent", "--help")
    faults += program_faults(PLUGIN, asked='{"cniVersion": "1.1.0"}', CNI_COMMAND="VERSION")
    faults += presence_faults(ABSENT)
    for fault in faults:
        print(f"cannot build: {fault}", file=sys.stderr)
    print(
        f"checked on {platform.machine()}: {len(modules)} modules and {len(extensions)} extensions loaded; "
        f"agent --help and plugin VERSION run, nft starts; {len(faults)} faults"
    )
    if "--remove" in sys.argv[1:]:
        shutil.rmtree(Path(__file__).parent)
    return 1 if faults else 0


def modules_of(package: ModuleType) -> Iterator[str]:
    """The names of all modules below a package, those excepted that run a program when they are imported."""
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not found.name.endswith(".__main__"):
            yield found.name


def import_faults(modules: Iterable[str]) -> Iterator[str]:
    """Import them all; what went wrong."""
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError as error:
            yield f"module {name} cannot be imported: {error}"


def extensions_in(directories: Iterable[Path]) -> Iterator[Path]:
    """Every extension below these directories."""
    return (path for directory in directories for path in sorted(directory.rglob("*.so")))


def extension_faults(extensions: Iterable[Path]) -> Iterator[str]:
    """Load them all; those that are for another processor or lack a library."""
    for path in extensions:
        try:
            ctypes.CDLL(str(path))
        except OSError as error:
            yield f"extension {path} cannot be loaded: {error}"


def bytecode_faults(directories: Iterable[Path]) -> Iterator[str]:
    """The modules whose bytecode is missing, of another Python's kind, or depends on the time of the source."""
    for source in (path for directory in directories for path in directory.rglob("*.py")):
        compiled = Path(importlib.util.cache_from_source(str(source)))
        if not compiled.is_file():
            yield f"module {source} has no bytecode"
            continue
        with compiled.open("rb") as file:
            kind, flags = file.read(4), file.read(4)
        if kind != importlib.util.MAGIC_NUMBER:
            yield f"the bytecode of {source} is that of another Python"
        elif int.from_bytes(flags, "little") != UNCHECKED:
            yield f"the bytecode of {source} is compared with the time of its source"


def program_faults(*command: str, asked: str = "", excused: str = "", **variables: str) -> Iterator[str]:
    """Run a program with these words as its input, and with these variables; why it could not.

    `excused`: a complaint after which it may end with any status.
    """
    environment = os.environ | variables
    try:
        done = subprocess.run(command, input=asked, text=True, env=environment, capture_output=True, check=False)
    except OSError as error:
        yield f"{command[0]} cannot run: {error}"
        return
    if done.returncode and not (excused and excused in done.stderr):
        yield f"{command[0]} cannot run: status {done.returncode}: {done.stderr.strip()}"


def presence_faults(programs: Iterable[str]) -> Iterator[str]:
    """Those of these programs that are there."""
    for name in programs:
        if found := shutil.which(name):
            yield f"program {found} is there, and nothing in the image calls it"


if __name__ == "__main__":
    sys.exit(main())
