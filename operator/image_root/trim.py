"""Removes from the root directory of the image whatever agent and controller do not need at run time.

The Dockerfile runs it before that directory becomes the image, on whichever Debian it began with; check.py then finds
out whether anything is missing. A Debian package stays if `KEEP` names it or if it owns a shared library that a program
or a Python extension of the image loads. dpkg removes the others, and at last itself, so that the list of packages in
the image (/var/lib/dpkg/status) stays true: vulnerability scanners read it.

There is no shell and no tool for one: neither agent nor controller calls any, and whoever got into their container
would use them first. `kubectl debug` brings its own.
"""

import re
import shutil
import subprocess
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

KEEP = (
    # Python without pip and venv, and nft.
    "libpython3-stdlib", "libpython3.*-minimal", "libpython3.*-stdlib", "nftables",
    "python3", "python3-minimal", "python3.[0-9]*[0-9]", "python3.[0-9]*-minimal",
    # What they read: authorities and settings of TLS, names of users, protocols and media types.
    "base-files", "base-passwd", "ca-certificates", "libc-bin", "libc6", "media-types", "netbase", "openssl",
)  # fmt: skip

# Of Python's own library: tests, teaching, the texts of help(), installers. And what loads a shared library that
# nothing else loads: Berkeley's databases, the screen of a terminal.
STANDARD_LIBRARY = (
    "ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "tkinter", "turtledemo", "turtle.py", "curses",
    "__pycache__/turtle.*", "lib-dynload/_curses*", "lib-dynload/_dbm.*", "lib-dynload/readline.*",
    "lib-dynload/_ctypes_test.*", "lib-dynload/_test*", "lib-dynload/_xx*", "lib-dynload/xx*",
)  # fmt: skip

# Of packages from PyPI: tests, and what only a compiler reads.
DISTRIBUTIONS = ("**/tests", "**/_testcapi.*", "**/*.pyx", "**/*.pxd", "**/*.pyi", "**/*.c", "**/*.h", "pycparser")

# Programs that nobody calls in a container, some of which load a library that nothing else loads.
PROGRAMS = (
    "usr/bin/pinky", "usr/bin/users", "usr/bin/who", "usr/bin/localedef", "usr/bin/iconv", "usr/sbin/iconvconfig",
    "usr/bin/pdb3*", "usr/bin/py3*", "usr/bin/pydoc3*", "usr/bin/pygettext3*",
)  # fmt: skip

# What is left of packages, kept or not: programs without what they call, texts for people, character sets beside
# Unicode, caches, logs.
LEFTOVERS = (
    "etc/alternatives", "usr/bin/awk", "usr/bin/nawk", "usr/bin/pager", "usr/bin/sh", "usr/bin/ldd", "usr/bin/tzselect",
    "usr/bin/zdump", "usr/sbin/rmt", "usr/sbin/update-ca-certificates",
    "usr/lib/*/gconv", "usr/share/bash-completion", "usr/share/gcc", "usr/share/info", "usr/share/lintian",
    "usr/share/locale", "usr/share/man", "etc/localtime", "var/cache/*", "var/lib/apt", "var/lib/dpkg/*-old",
    "var/lib/dpkg/alternatives", "var/lib/dpkg/available", "var/lib/dpkg/info", "var/lib/dpkg/triggers", "var/log/*",
)  # fmt: skip

LOADED = re.compile(r"=> (/\S+) \(")  # ldd: libssl.so.3 => /lib/x86_64-linux-gnu/libssl.so.3 (0x00007f...)
OWNER = re.compile(r"^([^\s:,]+)(?::[^\s,]+)?: /", re.MULTILINE)  # dpkg: libssl3t64:amd64: /usr/lib/...


def main() -> None:
    """Trim the root directory of this machine, which is a container that builds the image."""
    (standard_library,) = Path("/usr/lib").glob("python3.*")
    (distributions,) = Path("/opt/azure-cni/lib").glob("python3.*/site-packages")
    remove(Path("/"), PROGRAMS)
    remove(standard_library, STANDARD_LIBRARY)
    remove(distributions, DISTRIBUTIONS)
    installed = packages()
    files = {name: run("dpkg-query", "--listfiles", name).splitlines() for name in installed if is_kept(name)}
    programs = [path for listed in files.values() for path in map(Path, listed) if path.parent.name in {"bin", "sbin"}]
    extensions = [*standard_library.rglob("*.so"), *distributions.rglob("*.so")]
    owners = owners_of(loaded([*programs, *extensions]))
    purge(name for name in installed if name not in files and name not in owners)
    remove(Path("/"), LEFTOVERS)


def is_kept(package: str) -> bool:
    """Whether a package stays whatever loads its files."""
    return any(fnmatchcase(package, pattern) for pattern in KEEP)


def remove(directory: Path, patterns: Iterable[str]) -> None:
    """Remove what is in a directory under names of these patterns, whether there is any or not."""
    for path in [path for pattern in patterns for path in directory.glob(pattern)]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def packages() -> list[str]:
    """The names of all packages that are installed."""
    return run("dpkg-query", "--show", "--showformat", "${Package}\n").split()


def loaded(files: Iterable[Path]) -> set[Path]:
    """The files of all shared libraries that these programs and libraries load; scripts load none."""
    return {Path(found).resolve() for path in files if path.is_file() for found in LOADED.findall(libraries(path))}


def libraries(path: Path) -> str:
    """What ldd says about a file; nothing for one that is no program."""
    return subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout


def owners_of(files: Iterable[Path]) -> set[str]:
    """The packages that own these files; a library that no package owns came with a Python package, and stays with it.

    Up to Debian 12, packages list their libraries below /lib, which is a link to /usr/lib.
    """
    names = [name for path in map(str, files) for name in (path, path.removeprefix("/usr"))]
    searched = subprocess.run(["dpkg-query", "--search", *names], capture_output=True, text=True, check=False)
    return set(OWNER.findall(searched.stdout))


def purge(names: Iterable[str]) -> None:
    """Have dpkg remove packages, itself among them, and whatever depends on them.

    Their scripts are left out: they ask for Perl and services, and undo nothing that an image has.
    """
    for kind in ("preinst", "postinst", "prerm", "postrm"):
        remove(Path("/var/lib/dpkg/info"), [f"*.{kind}"])
    run("dpkg", "--force-all", "--no-triggers", "--purge", *names)


def run(*command: str) -> str:
    """What a command prints; raises CalledProcessError when it fails, its complaint on standard error."""
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


if __name__ == "__main__":
    main()
