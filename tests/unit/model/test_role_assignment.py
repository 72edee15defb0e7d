"""The command that assigns a role: of words that others may have chosen, only what is an ID as Azure has it."""

import shlex

import pytest

from azure_cni.model.identity import role_assignment

WHO = "00000000-1111-2222-3333-444444444444"
NIC = "/subscriptions/s/resourceGroups/a (b)/providers/Microsoft.Network/networkInterfaces/nic"


def test_who_lacks_it_and_where_are_in_the_command():
    command = role_assignment(identity=WHO, scope=NIC.replace(" ", ""))
    words = ["az", "role", "assignment", "create", "--assignee", WHO, "--role", "azure-cni agent", "--scope"]
    assert shlex.split(command) == [*words, NIC.replace(" ", "")]


@pytest.mark.parametrize("identity", ["", "me@example.com", f"{WHO}\n", f"{WHO} --role Owner", "$(id)"])
def test_what_is_no_object_id_is_left_for_a_person_to_fill_in(identity: str):
    assert "--assignee OBJECT-ID " in role_assignment(identity=identity, scope="/subscriptions/s")


@pytest.mark.parametrize(
    "scope", ["", "/", "nic", NIC, "/subscriptions/s; id", "/subscriptions/s\n", "/subscriptions/"]
)
def test_without_a_scope_there_is_no_command(scope: str):
    assert role_assignment(identity=WHO, scope=scope) == ""
