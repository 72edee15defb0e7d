"""Programs for arm64 on another machine: the kernel hands them to QEMU, for as long as one command needs it.

The kernel's list of interpreters (binfmt_misc) belongs to the whole machine. An entry that is there already is used and
left alone, as Debian's systemd makes one. Otherwise the box adds one and removes it at the end, and the mount of the
list as well if the box made it. Only whoever has the images' lock may do this. A run that was killed leaves its entry,
which the next one takes over and removes.

The flag F has the kernel open the emulator when the entry is made, so programs in an image find it, where it is not.
"""

import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from azurebox.steps import StepError, capture

ARCHITECTURE: Final = "arm64"  # Debian's name and Go's
MACHINE: Final = "aarch64"  # the kernel's
EMULATOR: Final = "qemu-aarch64-static"
PACKAGES: Final = {EMULATOR: "qemu-user-static", "arch-test": "arch-test"}
"""What a build for arm64 needs beside the box's own packages: command -> package. mmdebstrap asks for arch-test."""

CPU: Final = ("QEMU_CPU", "cortex-a72")
"""A processor of Debian's baseline. QEMU's default has pointer authentication, which it computes
at each call of a function: a loop of Perl took 4.5 s with it, and 0.4 s without.
"""

BINFMT: Final = Path("/proc/sys/fs/binfmt_misc")
NAME: Final = "azbox-arm64"
# The first 20 bytes of an ELF file, 64-bit, little-endian, executable or shared, for machine 183; the mask leaves open
# which ABI, and bit 0 of the type.
MAGIC: Final = bytes.fromhex("7f454c460201010000000000000000000200b700")
MASK: Final = bytes.fromhex("ffffffffffffff00fffffffffffffffffeffffff")


@contextmanager
def emulated(directory: Path = BINFMT) -> Iterator[None]:
    """Have the kernel run arm64's programs meanwhile; on arm64 itself there is nothing to do.

    Raises:
        StepError: the kernel has no such list, or refuses the entry; or there is no emulator.

    """
    if platform.machine() == MACHINE:
        yield
        return
    mounted = not (directory / "register").exists()
    if mounted:
        capture(["mount", "-t", "binfmt_misc", "binfmt_misc", str(directory)], what=f"run programs for {ARCHITECTURE}")
    entry = directory / NAME
    try:
        if not entry.exists() and not _handled(directory):
            _register(directory)
        yield
    finally:
        if entry.exists():
            entry.write_text("-1")
        if mounted:
            subprocess.run(["umount", str(directory)], capture_output=True, check=False)


def registration(emulator: str) -> bytes:
    """What is written to the kernel's list."""
    magic, mask = ("".join(f"\\x{byte:02x}" for byte in field) for field in (MAGIC, MASK))
    return f":{NAME}:M::{magic}:{mask}:{emulator}:F".encode()


def _register(directory: Path) -> None:
    emulator = shutil.which(EMULATOR)
    if emulator is None:
        raise StepError(
            f"cannot run programs for {ARCHITECTURE}: {EMULATOR} is missing",
            advice=f"install Debian's package {PACKAGES[EMULATOR]}",
        )
    try:
        (directory / "register").write_bytes(registration(emulator))
    except OSError as error:
        raise StepError(
            f"cannot run programs for {ARCHITECTURE}: the kernel refuses {emulator} in {directory}: {error.strerror}",
            advice=f"register an emulator for {MACHINE} with the flag F yourself, then run this again",
        ) from error


def _handled(directory: Path) -> bool:
    """Whether there is an interpreter already, which is found from within an image."""
    return any(_is_for_images(path.read_text()) for path in directory.iterdir() if path.name not in _CONTROLS)


_CONTROLS: Final = ("register", "status")


def _is_for_images(entry: str) -> bool:
    """Of an entry as the kernel shows it: enabled, for these files, with the flag F."""
    state, *lines = entry.splitlines() or [""]
    fields = dict(line.partition(" ")[::2] for line in lines)
    return state == "enabled" and "F" in fields.get("flags:", "") and fields.get("magic") == MAGIC.hex()
