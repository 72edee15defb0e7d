"""The command that assigns a role: of words that others may have chosen, only what is an ID as Azure has it."""

import shlex

import pytest

from azure_cni.model.identity import assignable, role_assignment

WHO = "00000000-1111-2222-3333-444444444444"
NIC = "/subscriptions/s/resourceGroups/a (b)/providers/Microsoft.Network/networkInterfaces/nic"


def test_who_lacks_it_and_where_are_in_the_command():
    command = role_assignment(identity=WHO, scope=NIC.replace(" ", ""))
    words = ["az", "role", "assignment", "create", "--assignee", WHO, "--role", "azure-cni agent", "--scope"]
    assert shlex.split(command) == [*words, NIC.replace(" ", "")]


def test_at_an_instance_of_a_uniform_scale_set_it_is_the_role_for_those_at_the_set():
    of_set = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/pool"
    for below in ("virtualMachines/0", "virtualMachines/0/networkInterfaces/nic"):
        words = shlex.split(role_assignment(identity=WHO, scope=f"{of_set}/{below}"))
        assert words[-4:] == ["--role", "azure-cni scale sets", "--scope", of_set]
    vm = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm1"
    assert shlex.split(role_assignment(identity=WHO, scope=vm))[-4:] == ["--role", "azure-cni agent", "--scope", vm]


@pytest.mark.parametrize(
    ("provider", "role"), [("Microsoft.Compute", "azure-cni scale sets"), ("Microsoft.Network", "azure-cni agent")]
)
def test_for_what_is_polled_in_a_region_it_is_assigned_at_the_subscription(provider: str, role: str):
    polled = f"/subscriptions/s/providers/{provider}/locations/eastus/operations/00000000-0000-0000-0000-000000000000"
    words = shlex.split(role_assignment(identity=WHO, scope=polled))
    assert words[-4:] == ["--role", role, "--scope", "/subscriptions/s"]
    assert assignable(polled) == "/subscriptions/s"


@pytest.mark.parametrize("identity", ["", "me@example.com", f"{WHO}\n", f"{WHO} --role Owner", "$(id)"])
def test_what_is_no_object_id_is_left_for_a_person_to_fill_in(identity: str):
    assert "--assignee OBJECT-ID " in role_assignment(identity=identity, scope="/subscriptions/s")


@pytest.mark.parametrize(
    "scope", ["", "/", "nic", NIC, "/subscriptions/s; id", "/subscriptions/s\n", "/subscriptions/"]
)
def test_without_a_scope_there_is_no_command(scope: str):
    assert role_assignment(identity=WHO, scope=scope) == ""
