"""What the box as a whole asks of its parts."""

import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from azurebox import azure, facts, host, lifecycle, machine, processes, tools
from azurebox.steps import StepError

PATIENCE_S = 60.0
ENDED = {"pid": 2**22 + 1, "started": 0, "argv": [], "env": {}, "wrappers": 0}  # no pid is as high


def test_what_was_stopped_on_a_vm_beside_the_cluster_does_not_keep_the_cluster_from_being_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def record(name: str) -> None:
        (tmp_path / f"{name}.json").write_text(json.dumps({"name": name, **ENDED}))

    monkeypatch.setattr(processes, "RECORDS", tmp_path)
    cluster = ("azbox-cp", "azbox-vm1")
    for name in ("azbox-docker1-azure-cni-docker", "azbox-vm12-kubelet"):
        record(name)
    lifecycle.require_alive(cluster)
    record("azbox-vm1-kubelet")
    with pytest.raises(StepError, match="azbox-vm1-kubelet ended"):
        lifecycle.require_alive(cluster)


def test_one_command_at_a_time_changes_the_box_whatever_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lifecycle, "PREFIX", f"azbox-test-{os.getpid()}-")
    with lifecycle.alone():
        monkeypatch.setattr(facts, "CACHE", tmp_path)
        with pytest.raises(StepError, match="another command is changing it"), lifecycle.alone():
            pass
    with lifecycle.alone():
        pass


def test_a_box_is_not_completed_with_another_kubernetes_than_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lifecycle, "whole", lambda: True)
    monkeypatch.setattr(host, "require_root", lambda: None)
    monkeypatch.setattr(lifecycle, "KUBERNETES", tmp_path / "kubernetes")
    assert lifecycle.current_kubernetes() == tools.KUBERNETES_DEFAULT
    lifecycle.KUBERNETES.write_text("1.12")
    with pytest.raises(
        StepError, match=r"with Kubernetes 1\.36: it has 1\.12\n(.*\n)*.*AZBOX_KUBERNETES_MINOR=1\.12, or"
    ):
        lifecycle.up(2)


@pytest.fixture
def happened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a cluster's start does, in order. The API server comes up when the first node's images are loaded."""
    done, loaded = list[str](), threading.Event()

    class ControlPlane:
        def start(self) -> None:
            assert loaded.wait(PATIENCE_S)
            done.append("API server")

    class Node:
        def __init__(self, name: str, *_: object, **__: object) -> None:
            self.name = name

        def prepare(self, images: Sequence[Path]) -> None:
            if not images:
                loaded.set()
                raise StepError("cannot load")
            done.append(f"{self.name} has {images[0]}")
            loaded.set()

        def join(self) -> None:
            done.append(f"{self.name} joins")

    monkeypatch.setattr(lifecycle, "Node", Node)
    monkeypatch.setattr(lifecycle, "boot_control_plane", ControlPlane)
    monkeypatch.setattr(lifecycle, "start_machine", lambda name: (name, None))
    monkeypatch.setattr(lifecycle.prometheus, "start", lambda _: done.append("prometheus"))
    return done


def test_images_are_loaded_while_the_api_server_comes_up(happened: list[str]):
    lifecycle.start_cluster(["azbox-vm1"], [Path("a.tar")])
    assert happened == ["azbox-vm1 has a.tar", "API server", "prometheus", "azbox-vm1 joins"]


def test_a_node_that_cannot_be_prepared_does_not_join(happened: list[str]):
    with pytest.raises(StepError, match="cannot load"):
        lifecycle.start_cluster(["azbox-vm1"], [])
    assert "azbox-vm1 joins" not in happened


@pytest.mark.parametrize("keep_nic", [False, True])
def test_a_node_that_is_removed_leaves_no_disk_for_the_next_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, keep_nic: bool
):
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(machine, "DISKS", tmp_path)
    monkeypatch.setattr(processes, "require", lambda name: None)
    monkeypatch.setattr(processes, "all_records", list)
    monkeypatch.setattr(lifecycle, "kubectl", lambda *words: "")
    monkeypatch.setattr(azure, "request", lambda *words: asked.append(words))
    for name in ("azbox-vm1", "azbox-vm2"):
        (tmp_path / name / "var" / "lib").mkdir(parents=True)
    lifecycle.remove("azbox-vm2", keep_nic=keep_nic)
    assert [path.name for path in tmp_path.iterdir()] == ["azbox-vm1"]
    assert asked == [("DELETE", "/vms/azbox-vm2", {"keep_nic": keep_nic})]
