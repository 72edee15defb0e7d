"""Two commands that build images wait for each other, and say so."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

from azurebox import image, image_export, project_image
from azurebox.image_lock import images_locked

HOLDER = """
import sys
from pathlib import Path
from azurebox.image_lock import images_locked
with images_locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
BUILDERS = (
    image.ensure_bases, image.ensure_base_of, image.ensure_pod_images, image.ensure_program_image,
    image.ensure_earlier, image_export.export_project, project_image.ensure,
)  # fmt: skip


def asker(lock: Path, *, stdin: int) -> subprocess.Popen[str]:
    """Another process that asks for the lock, and has it until its input ends."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock)],
        stdin=stdin,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": ":".join(sys.path)},
    )


def holder(lock: Path) -> subprocess.Popen[str]:
    """Another process that has the lock."""
    started = asker(lock, stdin=subprocess.PIPE)
    assert started.stdout is not None
    assert started.stdout.readline() == "held\n"
    return started


def test_who_comes_second_waits_and_says_for_what(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    lock = tmp_path / "cache" / "lock"
    lock.parent.mkdir()
    with holder(lock) as first:
        second = asker(lock, stdin=subprocess.DEVNULL)
        assert second.stdout is not None
        assert str(lock) in second.stdout.readline()
        assert second.poll() is None
        first.communicate("")
        said, _ = second.communicate()
    assert said.split("\n") == ["  the other command is done", "held", ""]
    with images_locked(lock):
        pass
    assert capsys.readouterr().out == ""


def test_inside_another_it_is_not_taken_again(tmp_path: Path):
    with images_locked(tmp_path / "lock"):
        with images_locked(tmp_path / "lock"):
            pass
        with subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(tmp_path / "lock")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": ":".join(sys.path)},
        ) as other:
            assert other.stdout is not None
            assert "waiting" in other.stdout.readline()
            other.kill()


@pytest.mark.parametrize("build", BUILDERS, ids=lambda one: one.__name__)
def test_whatever_builds_images_takes_it(build: object):
    """`contextmanager` wraps what it decorates."""
    assert inspect.unwrap(build) is not build  # type: ignore[arg-type]
