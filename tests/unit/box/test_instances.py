"""Nodes of the box that are instances of a Uniform scale set: their names, and what the cloud makes of these."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from azurebox import lifecycle, release
from azurebox.client import Box
from azurebox.cloud import Cloud
from azurebox.facts import instance_name, instance_number, nic_name, node_name, vm_id
from azurebox.guest import Guest
from azurebox.steps import StepError
from fakeazure import imds
from fakeazure.adminmessages import DeleteVm, ReimageVm

NAME = "azbox-set000001"


class Wires:
    """Takes the place of the fabric: what was plugged in with which MAC."""

    namespace = "azbox-fabric"

    def __init__(self) -> None:
        self.cables: dict[str, str] = {}

    def ensure_namespaces(self) -> None:
        pass

    def rule_hits(self) -> dict[tuple[str, str, str], int]:
        return {}

    def attach(self, vm_name: str, mac: str, *, interface: str = "eth0") -> None:
        self.cables[f"{vm_name} {interface}"] = mac

    def detach(self, vm_name: str) -> None:
        self.cables.pop(f"{vm_name} eth0", None)

    def apply(self, network: object, *, healthy: Collection[Any] = ()) -> None:
        pass


@pytest.fixture
def cloud() -> Cloud:
    made = Cloud(Wires())  # type: ignore[arg-type]
    made.azure.operation_duration_s = 0.0
    made.lay()
    return made


def test_an_instance_is_known_by_its_name() -> None:
    assert (instance_name(1), instance_number(NAME)) == (NAME, 1)
    assert vm_id(NAME).endswith("/Microsoft.Compute/virtualMachineScaleSets/azbox-set/virtualMachines/1")
    assert nic_name(NAME) == "azbox-set_1/azbox-set-nic"


@pytest.mark.parametrize("name", [node_name(1), "azbox-settler"])
def test_another_vm_is_no_instance(name: str) -> None:
    assert instance_number(name) is None
    assert vm_id(name).endswith(f"/Microsoft.Compute/virtualMachines/{name}")
    assert nic_name(name) == f"{name}-nic"


def test_the_cloud_plugs_in_instances_beside_plain_vms(cloud: Cloud) -> None:
    """Each once, however often a VM boots; the metadata service says what Azure's would."""
    plain, first = cloud.plug_in("azbox-vm1"), cloud.plug_in(NAME)
    assert cloud.plug_in(NAME) == first
    assert (plain["primary"], first["primary"]) == ("10.240.0.4", "10.240.0.5")
    cloud.plug_in(instance_name(0))
    assert len(cloud.azure.network.vms) == 3
    vm = cloud.azure.vm(NAME)
    assert (vm.id, vm.nic) == (vm_id(NAME), nic_name(NAME))
    assert cloud.fabric.cables[f"{NAME} eth0"] == vm.mac.replace("-", ":").lower()  # type: ignore[attr-defined]
    compute = imds.document(cloud.azure, vm)["compute"]
    assert compute["resourceId"] == vm_id(NAME)
    assert (compute["name"], compute["vmScaleSetName"]) == ("azbox-set_1", "azbox-set")
    assert compute["osProfile"]["computerName"] == NAME


def test_an_instance_is_reimaged_and_removed_by_the_name_of_its_node(cloud: Cloud) -> None:
    cloud.plug_in(NAME)
    cloud.azure.outside.appear(nic_name(NAME), count=2)
    ReimageVm(name=NAME).run(cloud.azure)
    assert len(cloud.azure.nic(nic_name(NAME))["properties"]["ipConfigurations"]) == 1
    with pytest.raises(ValueError, match="cannot keep the NIC of azbox-set000001"):
        DeleteVm(name=NAME, keep_nic=True).run(cloud.azure)
    DeleteVm(name=NAME).run(cloud.azure)
    assert not cloud.azure.network.vms
    assert not cloud.azure.uniform.instances
    cloud.plug_in(NAME)  # `up` makes it again


def test_only_an_instance_is_reimaged(cloud: Cloud) -> None:
    cloud.plug_in("azbox-vm1")
    with pytest.raises(KeyError, match="azbox-vm1 is no instance"):
        ReimageVm(name="azbox-vm1").run(cloud.azure)


def test_a_plain_vm_that_is_no_node_takes_no_name_of_a_node() -> None:
    with pytest.raises(StepError, match="azbox-vm or azbox-set, which nodes have"):
        Guest(NAME)


@pytest.mark.parametrize(("instance", "asked"), [(False, (3, 1)), (True, (2, 2))])
def test_a_node_more_is_one_of_the_kind_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, *, instance: bool, asked: tuple[int, int]
) -> None:
    there, ups = [node_name(1), node_name(2), instance_name(0)], []

    def up(count: int, *, instances: int = 0) -> None:
        ups.append((count, instances))
        there.append(instance_name(instances - 1) if instance else node_name(count))

    class Known(Box):
        nodes = property(lambda _: list(there))

    monkeypatch.setattr(lifecycle, "require_up", lambda: None)
    monkeypatch.setattr(lifecycle, "up", up)
    monkeypatch.setattr("azurebox.client.load_image", lambda *_: None)
    monkeypatch.setattr(release, "installed_image", lambda: Path("image.tar"))
    assert Known().add_node(instance=instance) == there[-1]
    assert ups == [asked]
