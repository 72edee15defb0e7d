"""What the box as a whole asks of its parts."""

import json
from pathlib import Path

import pytest

from azurebox import lifecycle, processes
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
