"""What decides whether a tool is built again, and which containerd a VM's services find."""

from dataclasses import replace

from azurebox import processes, tools
from azurebox.node import CONTAINERD, RUNTIMES


def test_each_module_has_its_own_place_and_pins_its_versions():
    assert len({module.directory for module in tools.ALL}) == len(tools.ALL)
    for module in tools.ALL:
        assert (module.source / "go.sum").exists()
        assert all(tools.path(name).parent == module.directory for name in module.binaries)


def test_what_is_built_otherwise_is_built_again():
    module = tools.CONTAINERD
    others = (replace(module, tags=("no_zfs",)), replace(module, variables={}), replace(module, binaries={}))
    assert len({module.key, *(other.key for other in others)}) == 4


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
