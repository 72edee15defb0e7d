"""What the box as a whole asks of its parts."""

import json
import os
from pathlib import Path

import pytest

from azurebox import facts, host, lifecycle, processes, tools
from azurebox.steps import StepError

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
