"""Programs for arm64 on another machine: the kernel's list is as it was when the work is done."""

from __future__ import annotations

import platform
import re
import struct
from pathlib import Path

import pytest

from azurebox import emulation
from azurebox.emulation import MAGIC, MASK, NAME, emulated, registration
from azurebox.steps import StepError

ENTRY = "enabled\ninterpreter /usr/bin/qemu\nflags: {flags}\noffset 0\nmagic {magic}\nmask {mask}\n"
X86_64, AARCH64, ARM = 62, 183, 40
EXECUTABLE, SHARED, CORE = 2, 3, 4


@pytest.fixture
def binfmt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A list that is mounted, on a machine of another kind, with an emulator."""
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    emulator = tmp_path / "bin" / emulation.EMULATOR
    emulator.parent.mkdir()
    emulator.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(emulator.parent))
    directory = tmp_path / "binfmt_misc"
    directory.mkdir()
    for name in ("register", "status"):
        (directory / name).touch()
    return directory


def header(machine: int, *, kind: int, wide: int = 2, abi: int = 0) -> bytes:
    """The beginning of an ELF file, little-endian. `wide`: 2 for 64 bits."""
    return b"\x7fELF" + bytes((wide, 1, 1, abi)) + bytes(8) + struct.pack("<HH", kind, machine)


def is_taken(begin: bytes) -> bool:
    """As the kernel compares, by what was registered."""
    return len(begin) == len(MAGIC) and all((a ^ b) & mask == 0 for a, b, mask in zip(begin, MAGIC, MASK, strict=True))


def test_the_emulator_gets_programs_and_libraries_of_arm64_and_no_others():
    for abi in (0, 3):
        assert is_taken(header(AARCH64, kind=EXECUTABLE, abi=abi))
        assert is_taken(header(AARCH64, kind=SHARED, abi=abi))
    assert not is_taken(header(AARCH64, kind=CORE))
    assert not is_taken(header(AARCH64, kind=EXECUTABLE, wide=1))
    for machine in (X86_64, ARM):
        assert not is_taken(header(machine, kind=EXECUTABLE))


def test_what_is_registered_is_in_the_kernels_form():
    fields = registration("/usr/bin/qemu").split(b":")
    assert (fields[1], fields[2], fields[6], fields[7]) == (NAME.encode(), b"M", b"/usr/bin/qemu", b"F")
    for field, wanted in ((fields[4], MAGIC), (fields[5], MASK)):
        assert bytes.fromhex(re.sub(r"\\x", "", field.decode())) == wanted
    assert len(registration("/usr/bin/qemu")) < 1920  # the kernel's limit


def test_it_is_registered_for_the_time_of_the_work_and_removed_also_after_a_failure(binfmt: Path):
    entry = binfmt / NAME

    def work() -> None:
        with emulated(binfmt):
            assert (binfmt / "register").read_bytes() == registration(f"{binfmt.parent}/bin/{emulation.EMULATOR}")
            entry.write_text(ENTRY.format(flags="F", magic=MAGIC.hex(), mask=MASK.hex()))  # as the kernel does
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work()
    assert entry.read_text() == "-1"


def test_an_entry_that_a_killed_run_left_is_used_and_removed(binfmt: Path):
    (binfmt / NAME).write_text(ENTRY.format(flags="F", magic=MAGIC.hex(), mask=MASK.hex()))
    with emulated(binfmt):
        assert (binfmt / "register").read_bytes() == b""
    assert (binfmt / NAME).read_text() == "-1"


@pytest.mark.parametrize(
    ("entry", "used"),
    [
        (ENTRY.format(flags="OCF", magic=MAGIC.hex(), mask=MASK.hex()), True),
        (ENTRY.format(flags="OC", magic=MAGIC.hex(), mask=MASK.hex()), False),  # not found from within an image
        (ENTRY.format(flags="OCF", magic=header(ARM, kind=2, wide=1).hex(), mask=MASK.hex()), False),
        (ENTRY.format(flags="OCF", magic=MAGIC.hex(), mask=MASK.hex()).replace("enabled", "disabled"), False),
        ("", False),
    ],
)
def test_an_entry_of_the_machine_is_used_where_it_will_do_and_left_alone(binfmt: Path, entry: str, *, used: bool):
    other = binfmt / "qemu-aarch64"
    other.write_text(entry)
    with emulated(binfmt):
        assert ((binfmt / "register").read_bytes() == b"") == used
    assert other.read_text() == entry


def test_without_an_emulator_it_says_which_package_brings_it(binfmt: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/no/such/directory")
    with pytest.raises(StepError, match=f"{emulation.EMULATOR} is missing") as refused, emulated(binfmt):
        pass
    assert "qemu-user-static" in refused.value.advice


def test_a_kernel_that_refuses_is_named(binfmt: Path):
    (binfmt / "register").unlink()
    (binfmt / "register").mkdir()
    with pytest.raises(StepError, match=f"the kernel refuses .*{emulation.EMULATOR}"), emulated(binfmt):
        pass


def test_on_arm64_itself_nothing_is_touched(binfmt: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with emulated(binfmt / "missing"):
        pass
    assert (binfmt / "register").read_bytes() == b""
