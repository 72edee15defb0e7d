"""What decides whether a tool is built again, and which containerd a VM's services find."""

import os
import re
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from azurebox import processes, tools
from azurebox.facts import REPOSITORY
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


@pytest.mark.parametrize(("minor", "version"), tools.KUBERNETES_VERSIONS.items())
def test_each_kubernetes_is_of_one_version_in_all_its_parts(minor: str, version: str):
    name = "kubernetes" if minor == tools.KUBERNETES_DEFAULT else f"kubernetes{minor}"
    pinned = (tools.MODULES / name / "go.mod").read_text()
    assert f"k8s.io/kubernetes {version}" in pinned
    staged = re.findall(r"=> k8s\.io/\S+ (\S+)", pinned)
    assert len(staged) > 20
    assert set(staged) == {version.replace("v1.", "v0.")}
    assert re.findall(r"^\tk8s\.io/kubernetes/(\S+)$", pinned, re.MULTILINE) == sorted(
        package.removeprefix("k8s.io/kubernetes/") for package in tools.KUBERNETES.binaries.values()
    )


def test_a_kubernetes_that_the_box_cannot_have_is_refused_with_those_that_it_can():
    script = "from azurebox import tools; tools.ensure_tools(())"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "e2e"), tools.KUBERNETES_CHOICE: "1.12"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert "cannot have Kubernetes 1.12" in done.stderr
    assert "set AZBOX_KUBERNETES_MINOR to one of 1.35, 1.36, 1.37" in done.stderr


def test_what_the_box_builds_says_its_version_so_that_another_box_takes_it():
    """Whoever names such a directory by `AZBOX_KUBERNETES` wants nothing of it built again."""
    probes = tools.OF_A_RELEASE | tools.TAKEN_TOO
    for module in tools.ALL:
        if module is not tools.COREDNS:  # its version is a constant of its own code
            for name in module.binaries:
                expected = probes[name].expected
                assert not expected or any(value in expected for value in module.variables.values()), name
