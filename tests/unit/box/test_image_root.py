"""What stays in the image's root directory, and that its check finds what is missing there."""

import ast
import compileall
import sys
from pathlib import Path
from py_compile import PycInvalidationMode

import pytest

import azure_cni
from azurebox.facts import REPOSITORY
from image_root import check, trim


@pytest.mark.parametrize(
    "package",
    [
        "python3.11",
        "python3.13",
        "python3.13-minimal",
        "libpython3.13-stdlib",
        "python3-minimal",
        "nftables",
        "libc-bin",
    ],
)
def test_what_runs_in_the_image_stays(package: str):
    assert trim.is_kept(package)


@pytest.mark.parametrize(
    "package",
    [
        "apt",
        "bash",
        "coreutils",
        "dash",
        "dpkg",
        "perl-base",
        "tar",
        "python3-venv",
        "python3.13-venv",
        "python3-pip-whl",
        "libpython3.13",
        "tzdata",
    ],
)
def test_what_nothing_calls_goes_unless_its_libraries_are_loaded(package: str):
    assert not trim.is_kept(package)


def test_the_packages_of_loaded_libraries_are_found_wherever_they_list_them():
    """This machine's shell loads the C library, which Debian 12 lists below /lib and Debian 13 below /usr/lib."""
    assert trim.owners_of(trim.loaded([Path("/bin/sh")])) == {"libc6"}


def test_a_script_loads_no_library(tmp_path: Path):
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    assert trim.loaded([script, tmp_path / "missing"]) == set()


def test_only_what_a_pattern_names_is_removed(tmp_path: Path):
    for name in ("test/a.py", "package/tests/b.py", "package/testing.py", "kept.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path / "package")
    trim.remove(tmp_path, ("test", "**/tests", "link", "missing"))
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert left == ["kept.py", "package", "package/testing.py"]


def test_the_product_imports_nothing_that_is_removed_from_the_standard_library():
    removed = {pattern.partition(".")[0] for pattern in trim.STANDARD_LIBRARY if "/" not in pattern}
    for file in (REPOSITORY / "operator" / "azure_cni").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert removed.isdisjoint(name.partition(".")[0] for name in names), file


def test_every_module_of_the_product_is_looked_at():
    modules = set(check.modules_of(azure_cni))
    assert {"azure_cni.errors", "azure_cni.entrypoints.agent", "azure_cni.watch.kopf_runner"} <= modules
    assert not {name for name in modules if name.endswith("__main__")}


def test_a_module_that_cannot_be_imported_is_named():
    assert list(check.import_faults(["azure_cni.errors"])) == []
    (fault,) = check.import_faults(["azure_cni.errors", "azure_cni.missing"])
    assert "azure_cni.missing" in fault


def test_an_extension_without_its_library_is_named(tmp_path: Path):
    extension = tmp_path / "broken.so"
    extension.write_bytes(b"no library")
    (fault,) = check.extension_faults(check.extensions_in([tmp_path]))
    assert str(extension) in fault


@pytest.mark.parametrize(
    ("mode", "faults"), [(PycInvalidationMode.UNCHECKED_HASH, 0), (PycInvalidationMode.TIMESTAMP, 1), (None, 1)]
)
def test_bytecode_that_is_missing_or_depends_on_times_is_found(
    tmp_path: Path, mode: PycInvalidationMode | None, faults: int
):
    (tmp_path / "module.py").write_text("answer = 42\n")
    if mode:
        compileall.compile_dir(tmp_path, quiet=1, invalidation_mode=mode)
    assert len(list(check.bytecode_faults([tmp_path]))) == faults


def test_bytecode_of_another_python_is_found(tmp_path: Path):
    """That of the image for another processor is compiled by the builder's Python."""
    (tmp_path / "module.py").write_text("answer = 42\n")
    compileall.compile_dir(tmp_path, quiet=1, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
    assert list(check.bytecode_faults([tmp_path])) == []
    (compiled,) = tmp_path.rglob("*.pyc")
    compiled.write_bytes(b"\xcb\x0d\x0d\x00" + compiled.read_bytes()[4:])
    assert list(check.bytecode_faults([tmp_path])) == [
        f"the bytecode of {tmp_path}/module.py is that of another Python"
    ]


def test_a_program_that_cannot_run_is_named():
    assert list(check.program_faults(sys.executable, "--version")) == []
    assert "missing-program" in next(check.program_faults("missing-program"))
    assert "status 1: no rules" in next(check.program_faults(sys.executable, "-c", "raise SystemExit('no rules')"))


def test_nft_may_end_for_want_of_a_netlink_socket_and_of_nothing_else():
    """As it does under QEMU's user mode, which has none for it."""
    complaint = f"src/mnl.c:64: {check.NO_NETLINK}"
    asked = (sys.executable, "-c", f"raise SystemExit({complaint!r})")
    assert list(check.program_faults(*asked, excused=check.NO_NETLINK)) == []
    assert complaint in next(check.program_faults(*asked))
    other = (sys.executable, "-c", "raise SystemExit('libnftables.so.1: cannot open shared object file')")
    assert "libnftables.so.1" in next(check.program_faults(*other, excused=check.NO_NETLINK))


def test_a_program_has_the_input_and_the_variables_that_it_is_asked_by():
    script = "import os, sys; sys.exit(sys.stdin.read() != 'words' or os.environ['CNI_COMMAND'] != 'VERSION')"
    asked = (sys.executable, "-c", script)
    assert list(check.program_faults(*asked, asked="words", CNI_COMMAND="VERSION")) == []
    assert len(list(check.program_faults(*asked, CNI_COMMAND="VERSION"))) == 1


def test_a_shell_that_is_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert list(check.presence_faults(["sh", "apt"])) == []
    (tmp_path / "sh").symlink_to(sys.executable)
    assert list(check.presence_faults(["sh", "apt"])) == [
        f"program {tmp_path}/sh is there, and nothing in the image calls it"
    ]


STARTS = frozenset(
    {
        *("subprocess.run", "subprocess.Popen", "subprocess.check_output", "os.system"),
        *("asyncio.create_subprocess_exec", "asyncio.create_subprocess_shell"),
    }
)


def test_the_product_starts_no_program_that_the_image_lacks():
    """The commands for people aside: itself, nft, portmap of the node, and iptables where a Docker host has it."""
    started = {
        (str(file.relative_to(REPOSITORY / "operator" / "azure_cni")), ast.unparse(node.args[0]))
        for file in (REPOSITORY / "operator" / "azure_cni").rglob("*.py")
        if "commands" not in file.parts
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and node.args and ast.unparse(node.func) in STARTS
        if file.name != "cli.py"
    }
    assert started == {
        ("entrypoints/certificate.py", "sys.executable"),
        ("host/install.py", "program"),
        ("linux/docker_firewall.py", "*command"),
        ("linux/nft.py", "['nft', *arguments]"),
    }
