"""Modes of the agent's directory under /run."""

import socket
from pathlib import Path

import pytest

from azure_cni.entrypoints.cni_service import SOCKET
from azure_cni.entrypoints.netns_socket import NAME
from azure_cni.errors import AzureCniError
from azure_cni.host.run_directory import MARK, OURS, RECORDS, make_private


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_whatever_the_modes_were_only_root_is_left(tmp_path):
    run = tmp_path / "azure-cni"
    bad = run / "released" / "bad"
    bad.mkdir(parents=True)
    files = [run / name for name in ("ledger.sqlite", "ledger.sqlite-journal", "pool.json", "served")]
    for path in files:
        path.touch()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(run / "cni.sock"))
    files.append(run / "cni.sock")
    for path in (run, bad.parent, bad):
        path.chmod(0o755)
    for path in files:
        path.chmod(0o666)
    make_private(run)
    assert {mode(path) for path in (run, bad.parent, bad)} == {0o700}
    assert {mode(path) for path in files} == {0o600}


def test_a_directory_that_is_not_there_is_made_so(tmp_path):
    make_private(tmp_path / "run" / "azure-cni")
    assert mode(tmp_path / "run" / "azure-cni") == 0o700


def test_what_others_keep_there_is_left_alone(tmp_path):
    run = tmp_path / "run"
    theirs = [run / "docker.pid", run / "lock"]
    theirs[1].mkdir(parents=True)
    theirs[0].touch()
    for path in theirs:
        path.chmod(0o755)
    make_private(run)
    assert {mode(path) for path in theirs} == {0o755}


def test_every_name_that_the_agent_uses_there_is_known():
    for name in (SOCKET, NAME, MARK, RECORDS):
        assert name in OURS


def test_what_a_link_leads_to_is_left_alone(tmp_path):
    run, other = tmp_path / "azure-cni", tmp_path / "other"
    run.mkdir()
    other.touch(mode=0o644)
    other.chmod(0o644)
    (run / "notes").symlink_to(other)
    (run / "nowhere").symlink_to(tmp_path / "nowhere")
    make_private(run)
    assert mode(other) == 0o644


def test_a_file_in_its_place_is_named(tmp_path):
    (tmp_path / "azure-cni").touch()
    with pytest.raises(AzureCniError, match=r"cannot set the mode of .*azure-cni: File exists"):
        make_private(tmp_path / "azure-cni")


def test_a_file_in_the_place_of_the_records_does_not_end_the_start(tmp_path):
    (tmp_path / "released").touch()
    make_private(tmp_path)
