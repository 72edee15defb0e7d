"""The admin API and its words, over a real unix socket."""

import argparse
import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from azurebox.azure import request
from azurebox.steps import StepError
from fakeazure import FakeAzure, admincli, faults, imds
from fakeazure.admincli import main
from fakeazure.faultkinds import KINDS, WORDS
from fakeazure.identity import ARM_AUDIENCES, Principal
from fakeazure.wire import Request


class Box:
    """A served fake and its words."""

    def __init__(self, azure: FakeAzure, socket: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.azure, self.socket, self.capsys = azure, socket, capsys

    async def say(self, *words: str, code: int = 0) -> str:
        """What the command prints, errors included; its exit code must be `code`."""
        got = await asyncio.to_thread(main, words, self.socket)
        out, err = self.capsys.readouterr()
        assert got == code, (out, err)
        return out + err


@pytest.fixture
async def box(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Box]:
    azure = FakeAzure(seed=1)
    azure.add_vnet(subnets={"nodes": "10.240.0.0/27"})
    azure.add_vm("vm1", secondaries=1, tags={"env": "box"})
    async with azure.serve(admin_socket=tmp_path / "admin.sock"):
        yield Box(azure, tmp_path / "admin.sock", capsys)


async def test_tables(box: Box) -> None:
    assert "vm1-nic  vm1  nodes" in await box.say("nics")
    assert "env=box" in await box.say("vms")
    assert "vnet/nodes  10.240.0.0/27  2     25" in await box.say("subnets")
    assert await box.say("faults") == "no faults\n"
    shown = await box.say("nic", "vm1-nic")
    assert "ipconfig1      10.240.0.4  Dynamic  primary" in shown
    assert json.loads(await box.say("nic", "vm1-nic", "--json")) == box.azure.nic("vm1-nic")


async def test_vms_come_and_go(box: Box) -> None:
    await box.say("add-vm", "vm2", "--secondaries", "2", "--tag", "a=b", "--public-ip", "198.51.100.7")
    assert len(box.azure.nic("vm2-nic")["properties"]["ipConfigurations"]) == 3
    assert "198.51.100.7" in await box.say("vms")
    await box.say("delete-vm", "vm2", "--keep-nic")
    assert "vm2-nic" in await box.say("nics")
    await box.say("delete-nic", "vm2-nic")
    assert "vm2-nic" not in await box.say("nics")
    assert "NicInUse" in await box.say("delete-nic", "vm1-nic", code=1)


async def test_an_instance_of_a_scale_set_is_reimaged_and_its_nic_is_known_by_a_name_with_a_slash(box: Box) -> None:
    box.azure.uniform.add("pool")
    box.azure.outside.appear("pool_0/pool-nic", count=2)
    assert len(json.loads(await box.say("nic", "pool_0/pool-nic", "--json"))["properties"]["ipConfigurations"]) == 3
    assert "pool000000 reimaged" in await box.say("reimage", "pool000000")
    assert len(box.azure.nic("pool_0/pool-nic")["properties"]["ipConfigurations"]) == 1
    assert "vm1 is no instance of a Uniform scale set" in await box.say("reimage", "vm1", code=1)
    await box.say("delete-vm", "pool_0")
    assert "pool" not in await box.say("nics")


async def test_a_vm_is_resized_or_moved(box: Box) -> None:
    before = box.azure.vm("vm1")
    await box.say("set-vm", "vm1", "--size", "Standard_D8s_v3")
    await box.say("set-vm", "vm1", "--fault-domain", "2")
    after = box.azure.vm("vm1")
    assert (after.size, after.fault_domain) == ("Standard_D8s_v3", 2)
    assert (after.guid, after.nic_ids, after.mac) == (before.guid, before.nic_ids, before.mac)


async def test_faults_are_injected_and_cleared(box: Box) -> None:
    await box.say("fault", "throttle", "--nic", "vm1-nic", "--seconds", "30")
    await box.say("fault", "slow", "--duration", "7", "--times", "0")
    first, second = box.azure.faults.active
    assert isinstance(first.effect, faults.Throttled)
    assert (first.operation, first.resource, first.times) == ("nic.*", "vm1-nic", None)
    assert second.effect == faults.SlowOperation(7.0)
    assert second.times is None
    assert "throttle" in await box.say("faults")
    await box.say("clear", "1")
    assert box.azure.faults.active == [second]
    await box.say("clear")
    assert box.azure.faults.active == []
    assert "only slow has one" in await box.say("fault", "fail", "--duration", "3", code=1)


async def test_another_tool(box: Box) -> None:
    etag = box.azure.nic("vm1-nic")["etag"]
    await box.say("touch", "vm1-nic")
    assert box.azure.nic("vm1-nic")["etag"] != etag
    await box.say("appear", "vm1-nic", "2")
    assert len(box.azure.effective().nics[0].addresses) == 4
    await box.say("vanish", "vm1-nic", "10.240.0.5")
    assert len(box.azure.effective().nics[0].addresses) == 3
    await box.say("write", "vm1-nic")
    assert "took 20 addresses" in await box.say("take", "20")
    assert box.azure.subnet().free == 4
    assert "took 4 addresses" in await box.say("take", "--leave", "0")
    assert "gave 24 addresses back" in await box.say("give-back")
    await box.say("resize", "10.240.0.0/26")
    assert box.azure.subnet().capacity == 59
    assert "falls outside" in await box.say("resize", "10.241.0.0/26", code=1)
    assert "not secondary addresses of it" in await box.say("vanish", "vm1-nic", "10.240.0.4", code=1)
    await box.say("vanish", "vm1-nic", "10.240.0.6", "--taken")
    assert (box.azure.subnet().holder("10.240.0.6") or "").startswith("/another-tool/")
    assert "ip_configuration blocks are the whole list" in await box.say("terraform", "vm1-nic")
    assert "and only one that is Failed is written again" in await box.say("capz", "vm1-nic", code=1)
    assert "without If-Match" in await box.say("ccm", "vm1-nic")


async def test_settings_permissions_events_and_logs(box: Box) -> None:
    assert await box.say("duration", "2.5") == "a NIC write takes 2.5 s\n"
    assert box.azure.operation_duration_s == 2.5
    await box.say("permissions", "*", "!Microsoft.Network/networkInterfaces/write", "--principal", "vm1")
    principal = box.azure.identity.find("vm1")
    assert principal
    assert not box.azure.identity.allows(principal, "Microsoft.Network/networkInterfaces/write")
    assert "scheduled" in await box.say("event", "vm1", "Reboot")
    assert await box.say("calls") == "no requests yet\n"
    lines = (await box.say("changes")).splitlines()
    assert [json.loads(line)["cause"] for line in lines] == ["created", "VM created"]
    assert await box.say("changes", "--since", "2") == "\n"


async def test_wrong_words(box: Box) -> None:
    assert "invalid choice" in await box.say("nonsense", code=2)
    assert "no NIC 'vm9-nic'" in await box.say("nic", "vm9-nic", code=1)
    assert "say either count or leave" in await box.say("take", code=1)


async def test_no_fake_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await asyncio.to_thread(main, ["nics"], tmp_path / "none.sock") == 1
    assert "is the box up?" in capsys.readouterr().err


@pytest.mark.parametrize("kind", sorted(KINDS))
async def test_every_kind_of_fault_is_listed_under_its_name(box: Box, kind: str) -> None:
    assert kind in (await box.say("fault", kind)).splitlines()[1].split()
    assert kind in await box.say("faults")


async def test_the_help_has_a_line_on_each_kind_of_fault(box: Box) -> None:
    shown = await box.say("fault", "-h")
    assert list(WORDS) == list(KINDS)
    assert [
        kind for kind, words in WORDS.items() if not re.search(rf"^  {kind} +{re.escape(words)}$", shown, re.MULTILINE)
    ] == []


def explained(parser: argparse.ArgumentParser, word: str = "") -> Iterator[tuple[str, str]]:
    """Each thing that may be left out, of each word of a command line, with its help."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield from explained(inner, name)
        elif action.option_strings or action.nargs in ("?", "*"):
            yield f"{word} {action.option_strings or action.dest}", action.help or ""


def test_the_help_explains_whatever_may_be_left_out() -> None:
    shown = dict(explained(admincli._parser()))
    assert len(shown) > 50
    assert [what for what, words in shown.items() if not words] == []


async def test_a_permission_is_shown_by_the_name_that_was_typed_and_taken_back_for_all(box: Box) -> None:
    shown = await box.say("permissions", "*", "!Microsoft.Network/networkInterfaces/write", "--principal", "vm1")
    assert re.search(r"^vm1 +\* !Microsoft.Network/networkInterfaces/write$", shown, re.MULTILINE)
    shown = await box.say("permissions", "*")
    assert "vm1" not in shown
    assert box.azure.identity.allows(principal_of(box), "Microsoft.Network/networkInterfaces/write")


def principal_of(box: Box) -> Principal:
    principal = box.azure.identity.find("vm1")
    assert principal is not None
    return principal


async def test_security_groups_are_made_attached_and_shown_with_what_they_judged(box: Box) -> None:
    await box.say("add-nsg", "web")
    await box.say("add-asg", "front")
    box.azure.rule_hits = lambda: {("web", "Inbound", "http"): 7}
    rule = ("--priority", "100", "--access", "Deny", "--protocol", "Tcp", "--source", "asg:front")
    shown = await box.say("rule", "web", "http", *rule, "--ports", "80", "90")
    assert re.search(r"^Inbound +100 +http +Deny +Tcp +asg:front +\* +80,90 +7$", shown, re.MULTILINE)
    assert "65500     DenyAllInBound" in await box.say("nsg", "web")
    assert "Rules cannot have the same Priority" in await box.say("rule", "web", "other", "--priority", "100", code=1)
    assert "web" in await box.say("set-subnet", "nodes", "--nsg", "web")
    await box.say("set-nic", "vm1-nic", "--nsg", "web", "--asgs", "front")
    nic = box.azure.nic("vm1-nic")["properties"]
    assert nic["networkSecurityGroup"]["id"].endswith("/networkSecurityGroups/web")
    assert all(config["properties"]["applicationSecurityGroups"] for config in nic["ipConfigurations"])
    assert re.search(r" web +front$", await box.say("nics"), re.MULTILINE)
    assert re.search(r"^web +1 +nodes,vm1-nic$", await box.say("nsgs"), re.MULTILINE)
    assert "web" in await box.say("asgs")
    assert "in use by" in await box.say("delete-nsg", "web", code=1)
    await box.say("set-subnet", "nodes", "--nsg", "")
    await box.say("set-nic", "vm1-nic", "--nsg", "", "--asgs")
    await box.say("delete-rule", "web", "http")
    assert "http" not in await box.say("nsg", "web")
    await box.say("delete-nsg", "web")
    await box.say("delete-asg", "front")
    assert await box.say("nsgs") == "no nsgs\n"


async def test_subnets_and_route_tables(box: Box) -> None:
    assert "10.240.1.0/24" in await box.say("set-subnet", "apps", "--prefix", "10.240.1.0/24")
    await box.say("add-route-table", "hub")
    await box.say("route", "hub", "peer", "10.241.0.0/16", "VirtualAppliance", "10.240.1.4")
    assert "peer  10.241.0.0/16  VirtualAppliance  10.240.1.4" in await box.say("route-table", "hub")
    assert "cannot be Null or Empty" in await box.say("route", "hub", "bad", "10.0.0.0/8", "VirtualAppliance", code=1)
    await box.say("set-subnet", "nodes", "--route-table", "hub", "--default-outbound", "false")
    nodes = box.azure.subnet("nodes")
    assert (nodes.route_table_id.rpartition("/")[2], nodes.default_outbound) == ("hub", False)
    assert str(nodes.prefix) == "10.240.0.0/27"  # what is not said stays
    assert "hub" in await box.say("route-tables")
    await box.say("delete-route", "hub", "peer")
    assert await box.say("route-table", "hub") == "no routes\n"
    await box.say("set-subnet", "nodes", "--route-table", "")
    await box.say("delete-route-table", "hub")
    assert "no 'hub'" in await box.say("route-table", "hub", code=1)


async def test_a_storage_account_and_whom_it_lets_in(box: Box) -> None:
    assert await box.say("storage") == "no storage accounts\n"
    assert "do not have ServiceEndpoints" in await box.say("set-storage", "data", "--subnet", "nodes", code=1)
    await box.say("set-subnet", "nodes", "--endpoints", "Microsoft.Storage")
    assert re.search(r"^data +False +nodes$", await box.say("set-storage", "data", "--subnet", "nodes"), re.MULTILINE)
    assert re.search(r"^data +True$", await box.say("set-storage", "data", "--open"), re.MULTILINE)


async def test_an_identity_is_for_the_vms_that_got_it_and_may_do_what_its_role_says(box: Box) -> None:
    async def ask(method: str, path: str, **fields: object) -> Any:
        return await asyncio.to_thread(request, method, path, fields or None, door=box.socket)

    def token(client_id: str) -> int:
        query = {"api-version": "2018-02-01", "resource": ARM_AUDIENCES[0], "client_id": client_id}
        asked = Request("GET", "/metadata/identity/oauth2/token", query, {"metadata": "true"}, source="10.240.0.4")
        return imds.answer(box.azure, asked).status

    made = await ask("PUT", "/identities/cni")
    assert await ask("GET", "/identities/cni") == made
    assert token(made["clientId"]) == 400
    await ask("POST", "/vms/vm1/identities", identity="cni")
    assert token(made["clientId"]) == 200

    principal, scope = made["principalId"], "/subscriptions/1/resourceGroups/box"
    await ask("POST", "/assignments", principal=principal, actions=["a/read"], scope=scope)
    one = box.azure.identity.principals[principal]
    assert box.azure.identity.allows(one, "a/read", scope=f"{scope}/b")
    assert not box.azure.identity.allows(one, "a/write", scope=scope)

    await ask("DELETE", "/identities/cni")
    assert token(made["clientId"]) == 400
    with pytest.raises(StepError, match="400"):
        await ask("GET", "/identities/cni")
