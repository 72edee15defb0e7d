"""Tools that write a NIC from what they know: what of it they leave, and which NICs they leave alone."""

from __future__ import annotations

import pytest

from fakeazure import FakeAzure, ManualClock
from fakeazure.errors import ArmError
from fakeazure.meddlers import MEDDLERS, meddle
from fakeazure.operations import Ending

DURATION_S = 20.0


def azure_with_ours(clock: ManualClock) -> FakeAzure:
    """A VM with one secondary of others and one of azure-cni."""
    azure = FakeAzure(clock, operation_duration_s=DURATION_S, seed=1)
    azure.add_vnet()
    azure.add_vm("vm1", secondaries=1)
    azure.outside.appear("vm1-nic", prefix="azure-cni-")
    return azure


def works(azure: FakeAzure) -> list[str]:
    return [one.address for one in azure.effective().nics[0].addresses]


def fail(azure: FakeAzure, clock: ManualClock) -> None:
    """A write ends badly, and leaves what was there."""
    nic = azure.nic_record("vm1-nic")
    draft = azure.nics.read(nic.id, nic.document())
    error = ArmError(500, "InternalServerError", "An error occurred.", ())
    azure.nics.write(draft, now=clock.now(), duration_s=DURATION_S, ending=Ending("Failed", error))
    clock.advance(DURATION_S)
    azure.settle()


@pytest.mark.parametrize(
    ("tool", "left"),
    [("terraform", ["10.240.0.4", "10.240.0.5"]), ("ccm", ["10.240.0.4", "10.240.0.5"]), ("capz", ["10.240.0.4"])],
)
def test_what_they_do_not_know_is_gone_with_their_write(tool: str, left: list[str]) -> None:
    clock = ManualClock()
    azure = azure_with_ours(clock)
    if tool == "capz":
        fail(azure, clock)
    assert works(azure) == ["10.240.0.4", "10.240.0.5", "10.240.0.6"]
    meddle(azure, "vm1-nic", tool)
    clock.advance(DURATION_S)
    azure.settle()
    assert azure.nic_record("vm1-nic").state == "Succeeded"
    assert works(azure) == left


def test_capz_leaves_a_nic_alone_that_is_not_failed() -> None:
    azure = azure_with_ours(ManualClock())
    with pytest.raises(ValueError, match="capz leaves vm1-nic alone: it is Succeeded"):
        meddle(azure, "vm1-nic", "capz")


def test_each_says_its_source_and_others_are_none() -> None:
    assert all(one.source for one in MEDDLERS.values())
    with pytest.raises(ValueError, match="no tool 'pulumi': there are capz, ccm, terraform"):
        meddle(azure_with_ours(ManualClock()), "vm1-nic", "pulumi")
