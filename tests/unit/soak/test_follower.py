"""Logs as a kubelet writes them: followed from a moment on, while files are rotated, and come and go."""

from __future__ import annotations

from pathlib import Path

import pytest

from soak.follower import Follower

POD = "kube-system_azure-cni-agent-x_uid/agent"
ERROR = '2026-11-29T18:19:04Z stderr F {"level": "ERROR", "message": "broken %s"}\n'


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The log of an agent, with a line in it."""
    file = tmp_path / POD / "0.log"
    file.parent.mkdir(parents=True)
    file.write_text(ERROR % "before")
    return file


@pytest.fixture
def follower(tmp_path: Path, log: Path) -> Follower:
    """It has passed over that line."""
    made = Follower([tmp_path])
    made.pass_over()
    return made


def append(file: Path, text: str) -> None:
    with file.open("a") as opened:
        opened.write(text)


def found(follower: Follower) -> list[str]:
    follower.read()
    return [line.partition("broken ")[2].rstrip('"}') for line in follower.lines.unknown]


def test_only_what_is_written_from_then_on_is_read_and_once(follower: Follower, log: Path):
    append(log, ERROR % "one")
    assert found(follower) == ["one"]
    append(log, ERROR % "two")
    assert found(follower) == ["one", "two"]
    assert follower.lines.unknown[0].startswith("azure-cni-agent-x: ")


def test_half_a_line_waits_for_its_rest(follower: Follower, log: Path):
    line = ERROR % "one"
    append(log, line[:30])
    assert found(follower) == []
    append(log, line[30:])
    assert found(follower) == ["one"]


def test_a_rotated_log_is_read_to_its_end_and_its_successor_from_its_beginning(follower: Follower, log: Path):
    append(log, ERROR % "one")
    log.rename(log.with_name("0.log.20261129-181904"))
    log.write_text(ERROR % "two")
    assert sorted(found(follower)) == ["one", "two"]
    assert sorted(found(follower)) == ["one", "two"]


def test_the_log_of_a_container_that_is_started_again_is_read_whole(follower: Follower, log: Path):
    """Also where its file has got the inode of the one before."""
    log.unlink()
    assert found(follower) == []
    log.with_name("1.log").write_text(ERROR % "again")
    assert found(follower) == ["again"]


def test_the_log_of_another_pod_is_read_whole_where_its_file_has_the_inode_of_one_that_is_gone(
    follower: Follower, log: Path, tmp_path: Path
):
    append(log, ERROR % "one")
    assert found(follower) == ["one"]
    log.write_text(ERROR % "two" + ERROR % "three" + ERROR % "four")
    (tmp_path / POD.replace("agent-x", "agent-y")).mkdir(parents=True)
    log.rename(tmp_path / POD.replace("agent-x", "agent-y") / "0.log")
    assert found(follower) == ["one", "two", "three", "four"]


def test_other_pods_are_not_read(follower: Follower, tmp_path: Path):
    other = tmp_path / "scenarios_churn-1_uid" / "server" / "0.log"
    other.parent.mkdir(parents=True)
    other.write_text(ERROR % "elsewhere")
    assert found(follower) == []
