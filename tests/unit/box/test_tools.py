"""What decides whether a tool is built again, and which containerd a VM's services find."""

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from azurebox import processes, tools
from azurebox.node import CONTAINERD, RUNTIMES
from scenarios.harness.registry import HOSTS


def test_each_module_has_its_own_place_and_pins_its_versions():
    modules = (*tools.ALL, *tools.ON_DEMAND)
    assert len({module.directory for module in modules}) == len(modules)
    for module in modules:
        assert (module.source / "go.sum").exists()
        assert all(tools.path(name).parent == module.directory for name in module.binaries)


def test_what_is_built_otherwise_is_built_again():
    module = tools.CONTAINERD
    others = (replace(module, tags=("no_zfs",)), replace(module, variables={}), replace(module, binaries={}))
    assert len({module.key, *(other.key for other in others)}) == 4


def test_a_program_of_our_own_is_built_again_when_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tools, "MODULES", tmp_path)
    (tmp_path / "coredns").mkdir()
    for name in ("go.mod", "go.sum", "main.go"):
        (tmp_path / "coredns" / name).write_text(name)
    before = tools.COREDNS.key
    (tmp_path / "coredns" / "main.go").write_text("another plugin")
    assert tools.COREDNS.key != before


def test_the_version_is_the_one_that_is_pinned():
    assert f"github.com/containerd/containerd/v2 {tools.CONTAINERD_VERSION} " in (
        tools.CONTAINERD.source / "go.mod"
    ).read_text().replace("\n", " ")


def test_services_find_the_built_containerd_and_its_shim_before_debians():
    places = processes.ENVIRONMENT["PATH"].split(":")
    assert places.index("/opt/azbox/containerd") < places.index("/usr/bin")


def test_one_configuration_serves_both_runtimes():
    assert CONTAINERD.startswith("version = 2\n"), "the newest that containerd 1.6 reads"
    assert RUNTIMES == ("containerd-2", "containerd-1.6")


def test_containerd_looks_for_registries_in_one_directory():
    """Of two, with a colon between, containerd 2.4 makes the name of one that is not there."""
    plugin = tomllib.loads(CONTAINERD)["plugins"]["io.containerd.grpc.v1.cri"]
    assert HOSTS.startswith(f"{plugin['registry']['config_path']}/{{registry}}/")


def test_what_the_box_builds_says_its_version_so_that_another_box_takes_it():
    """Whoever names such a directory by `AZBOX_KUBERNETES` wants nothing of it built again."""
    probes = tools.OF_A_RELEASE | tools.TAKEN_TOO
    for module in tools.ALL:
        if module is not tools.COREDNS:  # its version is a constant of its own code
            for name in module.binaries:
                expected = probes[name].expected
                assert not expected or any(value in expected for value in module.variables.values()), name
