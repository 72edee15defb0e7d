"""Finds out whether the trimmed root directory of the image still has what the agent and the controller need.

The Dockerfile runs it with the agent's own Python after trim.py, so an image that lacks something is never built: every
module of the product can be imported, every Python extension finds its libraries, every module has bytecode that is
used whatever the times of the files, nft runs, there are certificate authorities, and there is no shell. As there is
none, this is also what takes the build's own files away (`--remove`).
"""

import ctypes
import importlib
import importlib.util
import pkgutil
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

import azure_cni

DIRECTORIES = (Path("/opt/azure-cni/lib"), *Path("/usr/lib").glob("python3.*"))
ABSENT = ("sh", "bash", "dash", "busybox", "perl", "apt", "apt-get", "dpkg", "pip", "tar", "curl", "wget")
"""What whoever got into a container would use first."""
UNCHECKED = 1  # flags of a .pyc file: found by its hash, which is never compared (PEP 552)


def main() -> int:
    """Look at everything; the exit status."""
    modules = list(modules_of(azure_cni))
    faults = [*import_faults(modules), *extension_faults(DIRECTORIES), *bytecode_faults(DIRECTORIES)]
    if not ssl.create_default_context().cert_store_stats()["x509_ca"]:
        faults.append("there are no certificate authorities")
    faults += program_faults("nft", "--version")
    faults += presence_faults(ABSENT)
    for fault in faults:
        print(f"cannot build: {fault}", file=sys.stderr)
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


def extension_faults(directories: Iterable[Path]) -> Iterator[str]:
    """Load every extension below these directories; those that lack a library."""
    for path in (path for directory in directories for path in directory.rglob("*.so")):
        try:
            ctypes.CDLL(str(path))
        except OSError as error:
            yield f"extension {path} cannot be loaded: {error}"


def bytecode_faults(directories: Iterable[Path]) -> Iterator[str]:
    """The modules below these directories whose bytecode is missing, or depends on the time of the source."""
    for source in (path for directory in directories for path in directory.rglob("*.py")):
        compiled = Path(importlib.util.cache_from_source(str(source)))
        if not compiled.is_file():
            yield f"module {source} has no bytecode"
        elif int.from_bytes(compiled.read_bytes()[4:8], "little") != UNCHECKED:
            yield f"the bytecode of {source} is compared with the time of its source"


def program_faults(*command: str) -> Iterator[str]:
    """Run a program; why it could not."""
    try:
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        yield f"{command[0]} cannot run: {error}"


def presence_faults(programs: Iterable[str]) -> Iterator[str]:
    """Those of these programs that are there."""
    for name in programs:
        if found := shutil.which(name):
            yield f"program {found} is there, and nothing in the image calls it"


if __name__ == "__main__":
    sys.exit(main())
