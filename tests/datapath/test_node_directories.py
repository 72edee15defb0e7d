"""Directories of the node as a container sees them: bind mounts in a mount namespace of the test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from azure_cni.host import files
from azure_cni.host.files import NodeDirectories, mounted
from datapath.namespaces import NEEDS_ROOT

pytestmark = NEEDS_ROOT

OPERATOR = Path(__file__).parents[2] / "operator"

SCRIPT = """
import subprocess, sys
from pathlib import Path
from azure_cni.host.files import NodeDirectories
seen = NodeDirectories((Path(sys.argv[1]), Path(sys.argv[1]).parent / "never mounted"))
print("at first:", seen.replaced())
subprocess.run(["sh", "-c", sys.argv[2]], check=True)
print("then:", seen.replaced())
print("a new container:", NodeDirectories((Path(sys.argv[1]),)).replaced())
"""


def reported(tmp_path: Path, command: str) -> list[str]:
    """What is said of node/c ni, mounted at seen/c ni, before and after the command."""
    there, seen = tmp_path / "node" / "c ni", tmp_path / "seen" / "c ni"
    for directory in (there, seen):
        directory.mkdir(parents=True)
    mount = 'mount --bind "$1" "$2" && exec "$3" -c "$4" "$2" "$5"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mount, "sh", there, seen, sys.executable, SCRIPT, command],
        env={"PYTHONPATH": str(OPERATOR), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_what_happens_in_the_directory_is_no_replacement(tmp_path: Path):
    assert reported(tmp_path, "cd 'node/c ni' && touch one && mkdir two && rm one && rmdir two") == [
        "at first: ",
        "then: ",
        "a new container: ",
    ]


@pytest.mark.parametrize(
    "command", ["rm -r 'node/c ni'; mkdir 'node/c ni'", "rm -r node; mkdir -p 'node/c ni'"], ids=["it", "its parent"]
)
def test_a_directory_that_is_removed_and_made_again_is_noticed(tmp_path: Path, command: str):
    first, then, _ = reported(tmp_path, command)
    assert first == "at first: "
    assert then == f"then: {tmp_path}/seen/c ni of the node was removed"


def test_a_directory_that_is_moved_and_made_again_is_noticed(tmp_path: Path):
    first, then, _ = reported(tmp_path, "mv 'node/c ni' node/old; mkdir 'node/c ni'")
    assert first == "at first: "
    assert then.startswith(f"then: {tmp_path}/seen/c ni of the node was moved to /")
    assert then.endswith("/node/old")


def test_a_directory_that_the_image_has_behind_a_link_is_watched_too(tmp_path: Path):
    """As with cni.binDir=/lib/cni, where /lib is a link to usr/lib."""
    mountinfo = tmp_path / "mountinfo"
    (tmp_path / "usr" / "lib").mkdir(parents=True)
    (tmp_path / "lib").symlink_to("usr/lib")
    line = "40 25 8:1 {} " + f"{tmp_path.resolve()}/usr/lib/cni rw - ext4 /dev/sda rw\n"
    mountinfo.write_text(line.format("/usr/lib/cni"))
    seen = NodeDirectories((tmp_path / "lib" / "cni",), mountinfo=mountinfo)
    assert not seen.replaced()
    mountinfo.write_text(line.format("/usr/lib/cni//deleted"))
    assert seen.replaced() == f"{tmp_path}/lib/cni of the node was removed"


def test_what_is_no_mount_point_is_left_alone(tmp_path: Path):
    plain = tmp_path / "bin"
    plain.mkdir()
    seen = NodeDirectories((plain,))
    plain.rmdir()
    assert not seen.replaced()


def test_the_topmost_mount_counts_and_blanks_are_read():
    text = (
        "25 1 8:1 / / rw shared:1 - ext4 /dev/sda rw\n"
        "40 25 8:1 /opt/cni/bin /opt/cni/bin rw - ext4 /dev/sda rw\n"
        "41 40 8:1 /a\\040b\\134c//deleted /opt/cni/bin rw - ext4 /dev/sda rw\n"
    )
    assert mounted(text) == {"/": "/", "/opt/cni/bin": "/a b\\c//deleted"}


def test_no_path_is_made_of_what_is_mounted_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Else Python's table of names grows, by 1.9 MB."""
    seen = NodeDirectories((tmp_path,))

    def refuse(*_: object) -> Path:
        raise AssertionError("a path is made")

    monkeypatch.setattr(files, "Path", refuse)
    assert not seen.replaced()
