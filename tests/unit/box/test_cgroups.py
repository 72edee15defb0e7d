"""Groups of nodes on both versions of cgroups, on plain directories that look like them."""

from pathlib import Path

import pytest

from azurebox import cgroups
from azurebox.steps import StepError


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    return tmp_path


def test_on_v1_the_group_is_made_in_every_hierarchy_and_its_cpuset_filled(root: Path):
    for name in ("cpuset", "memory", "cpu,cpuacct"):
        (root / name).mkdir()
    (root / "cpu").symlink_to("cpu,cpuacct")
    (root / "cpuset" / "azbox-vm1").mkdir()
    for key, value in (("cpuset.cpus", "0-3\n"), ("cpuset.mems", "0\n")):
        (root / "cpuset" / key).write_text(value)
        (root / "cpuset" / "azbox-vm1" / key).write_text("\n")  # as the kernel makes it
    cgroups.ensure("azbox-vm1")
    assert cgroups.version() == 1
    assert [path.parent.name for path in cgroups.ours()] == ["cpu,cpuacct", "cpuset", "memory"]
    assert (root / "cpuset" / "azbox-vm1" / "cpuset.cpus").read_text() == "0-3\n"


def test_on_v2_the_controllers_that_exist_are_handed_down_first(root: Path):
    (root / "cgroup.controllers").write_text("cpuset cpu memory pids rdma\n")
    cgroups.ensure("azbox-vm1")
    assert cgroups.version() == 2
    assert (root / "cgroup.subtree_control").read_text() == "+cpu +cpuset +memory +pids"
    assert cgroups.ours() == [root / "azbox-vm1"]


def test_on_v2_a_parent_that_cannot_hand_down_is_reported_with_what_to_do(root: Path):
    (root / "cgroup.controllers").write_text("cpu memory\n")
    (root / "cgroup.subtree_control").mkdir()  # any error of the kernel
    with pytest.raises(StepError, match=r"cannot hand \+cpu \+memory down") as reported:
        cgroups.ensure("azbox-vm1")
    assert "what to do" in str(reported.value)


@pytest.mark.parametrize(("version", "key", "share"), [(1, "cpu.shares", "128"), (2, "cpu.weight", "12")])
def test_a_small_group_gets_an_eighth_of_the_cpu(root: Path, version: int, key: str, share: str):
    if version == 2:
        (root / "cgroup.controllers").write_text("cpu memory\n")
    groups = {1: root / "cpu" / "azbox-attackers", 2: root / "azbox-attackers"}
    group = groups[version]
    group.mkdir(parents=True)
    (group / key).touch()  # as the kernel makes it
    (root / "memory").mkdir()
    assert cgroups.ensure_small("azbox-attackers") == group / "cgroup.procs"
    assert (group / key).read_text() == share


def test_removing_takes_the_leaves_first_and_only_what_matches(root: Path):
    for name in ("azbox-vm1/kubepods/pod1", "azbox-vm10", "system.slice"):
        (root / "memory" / name).mkdir(parents=True)
    cgroups.remove("azbox-vm1")
    assert sorted(path.name for path in (root / "memory").iterdir()) == ["azbox-vm10", "system.slice"]
    cgroups.remove()
    assert [path.name for path in (root / "memory").iterdir()] == ["system.slice"]
