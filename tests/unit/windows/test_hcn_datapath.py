"""What HNS holds after each verb, and what becomes of what others do to it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from azure_cni.datapath.conflicts import ConflictReason
from azure_cni.errors import DatapathError, DatapathOutcomeUnknown
from azure_cni.model.identity import ModeName, NodeNic
from azure_cni.node.pods.liveness import Occupancy
from fakehns import service
from unit.windows.hns_node import MAC, PRIMARY, TABLE, A, B, HnsNode, prepared


async def test_one_network_is_made_on_the_nic_and_found_again_by_the_next_agent() -> None:
    async with prepared() as (node, agent):
        (network,) = node.hns.objects["Network"].values()
        assert (network["Name"], network["Type"], network["Flags"]) == ("azure", "L2Bridge", 8)
        assert network["Policies"][0]["Settings"] == {"NetworkAdapterName": "Ethernet"}
        assert (await agent.apply_node(TABLE)).uplink.name == "vEthernet (Ethernet)"
        assert (await node.agent().apply_node(TABLE)).repaired == ()
        assert list(node.hns.objects["Network"].values()) == [network]


async def test_an_endpoint_has_the_address_the_gateway_and_its_policies_from_the_start() -> None:
    async with prepared() as (node, agent):
        spec = node.spec("one", A)
        wiring = await agent.attach(spec)
        (endpoint,) = node.endpoints(spec)
        assert endpoint["IpConfigurations"] == [{"IpAddress": "10.240.0.7", "PrefixLength": 22}]
        assert endpoint["Routes"] == [{"NextHop": "10.240.0.1", "DestinationPrefix": "0.0.0.0/0"}]
        assert endpoint["HostComputeNamespace"] == spec.netns
        assert [call.verb for call in node.hns.calls if call.kind == "Endpoint"].count("modify") == 0
        assert wiring.node == ()
        assert str(wiring.pod.addresses[0]) == "10.240.0.7/22"
        assert wiring.pod.mac == endpoint["MacAddress"].replace("-", ":").lower()
        await agent.detach(spec.sandbox)
        assert node.hns.objects["Namespace"][spec.netns]["Resources"] == []


async def test_no_pod_is_wired_before_its_policies_are_known() -> None:
    node = HnsNode()
    agent = node.agent()
    for verb in (agent.attach, agent.check):
        with pytest.raises(DatapathError, match="this agent has not applied the node's table yet"):
            await verb(node.spec("one", A))
    await node.close()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"Type": "Overlay"}, "it is of type Overlay, not L2Bridge"),
        ({"Ipams": []}, "it has the subnets none, and the NIC is in 10.240.0.0/22"),
    ],
)
async def test_a_network_of_another_kind_is_refused_and_left_alone(change: dict[str, object], fault: str) -> None:
    async with prepared() as (node, agent):
        spec = node.spec("one", A)
        await agent.attach(spec)
        (network,) = node.hns.objects["Network"].values()
        network |= change
        with pytest.raises(DatapathError, match=rf"cannot use the HCN network azure: {fault}.*drain the node"):
            await node.agent().apply_node(TABLE)
        assert list(node.hns.objects["Network"].values()) == [network]
        assert node.endpoints(spec)


async def test_a_pod_subnet_is_refused_with_what_to_do() -> None:
    node = HnsNode()
    beside = replace(TABLE, node_nic=NodeNic("00:0d:3a:00:00:0b", PRIMARY))
    with pytest.raises(DatapathError, match=r"a pod subnet on Windows: .* remove nic\.subnet from the NodeIPPool"):
        await node.agent().apply_node(beside)
    await node.close()


async def test_the_nic_is_away_while_hns_takes_it_over() -> None:
    node = HnsNode()
    node.adapters.away = True
    agent = node.agent()
    with pytest.raises(DatapathError, match=r"no interface with the NIC's MAC .* has its address .*some seconds"):
        await agent.apply_node(TABLE)
    node.adapters.away = False
    assert (await agent.apply_node(TABLE)).repaired
    assert (await agent.uplink(MAC, PRIMARY)).mtu == 1500
    await node.close()


async def test_an_adapter_without_a_gateway_wires_nobody() -> None:
    node = HnsNode()
    node.adapters.nic = replace(node.adapters.nic, gateway=None)
    with pytest.raises(DatapathError, match=r"cannot wire pods by Ethernet: it has 10\.240\.0\.4 but no gateway"):
        await node.agent().apply_node(TABLE)
    await node.close()


async def test_policies_that_somebody_changed_are_set_right_on_pods_that_run() -> None:
    async with prepared() as (node, agent):
        one, two = node.spec("one", A), node.spec("two", B)
        for spec in (one, two):
            await agent.attach(spec)
        whole = node.endpoints(two)[0]["Policies"]
        bandwidth = {"Type": "QOS", "Settings": {"MaximumOutgoingBandwidthInBytes": 1}}
        node.endpoints(one)[0]["Policies"] = [bandwidth]
        assert [words for words in await agent.check(one) if "lacks policy OutBoundNAT" in words]
        repaired = (await agent.apply_node(TABLE)).repaired
        assert len(repaired) == len(whole)
        assert all(words.endswith(": set right") for words in repaired)
        assert node.endpoints(one)[0]["Policies"] == [bandwidth, *whole]
        assert (await agent.apply_node(TABLE)).repaired == ()


async def test_policies_that_hns_takes_and_does_not_keep_are_an_error_and_hold_up_no_other_pod() -> None:
    async with prepared() as (node, agent):
        one, two = node.spec("one", A), node.spec("two", B)
        for spec in (one, two):
            await agent.attach(spec)
        stubborn, changed = node.endpoints(one)[0], node.endpoints(two)[0]

        def forget(call: service.Call) -> int:
            if call == service.Call("modify", "Endpoint"):
                stubborn["Policies"] = []
            return 0

        stubborn["Policies"] = changed["Policies"] = []
        node.hns.after_call = forget
        with pytest.raises(
            DatapathError, match=r"cannot set the policies of HCN endpoint acni.*: it still lacks policy"
        ):
            await agent.apply_node(TABLE)
        assert changed["Policies"]


async def test_new_prefixes_of_the_vnet_reach_running_pods() -> None:
    async with prepared() as (node, agent):
        spec = node.spec("one", A)
        await agent.attach(spec)
        more = replace(TABLE, routable=TABLE.routable | {IPv4Network("192.168.0.0/16")})
        assert (await agent.apply_node(more)).repaired
        (nat,) = [one for one in node.endpoints(spec)[0]["Policies"] if "Exceptions" in one["Settings"]]
        assert nat["Settings"]["Exceptions"] == ["10.240.0.0/16", "192.168.0.0/16"]


async def test_a_pod_that_comes_after_its_address_was_exempted_is_exempt_from_its_start() -> None:
    async with prepared() as (node, agent):
        await agent.set_egress(frozenset({A}))
        exempt, other = node.spec("exempt", A), node.spec("other", B)
        for spec, translated in ((exempt, 0), (other, 1)):
            await agent.attach(spec)
            policies = node.endpoints(spec)[0]["Policies"]
            assert len([one for one in policies if "Exceptions" in one["Settings"]]) == translated


async def test_a_stale_endpoint_of_ours_gives_way_to_who_has_its_address_now() -> None:
    """It is left from a pod whose DEL was cut short, and would take the new pod's packets."""
    async with prepared() as (node, agent):
        old, new = node.spec("old", A), node.spec("new", A)
        await agent.attach(old)
        await node.agent().apply_node(TABLE)
        await agent.attach(new)
        assert node.endpoints(old) == []
        assert await agent.check(new) == ()


async def test_another_programs_endpoint_with_a_pods_address_is_reported_and_left_alone() -> None:
    async with prepared() as (node, agent):
        spec = node.spec("one", A)
        await agent.attach(spec)
        foreign = node.hns.duplicate(node.endpoints(spec)[0]["ID"], Name="other")
        assert f"other has {A}, too" in await agent.check(spec)
        await agent.detach(spec.sandbox)
        with pytest.raises(DatapathError, match=rf"the HCN endpoint other \({foreign}\), of another program, has {A}"):
            await agent.attach(spec)
        (conflict,) = (await agent.apply_node(TABLE)).conflicts
        assert conflict.reason is ConflictReason.ADDRESS_ELSEWHERE
        assert conflict.command == f"Get-HnsEndpoint {foreign} | Remove-HnsEndpoint"
        assert [one["Name"] for one in node.hns.endpoints()] == ["other"]
        assert await agent.sandboxes() == ()


async def test_two_endpoints_of_one_name_are_found_and_made_one() -> None:
    async with prepared() as (node, agent):
        spec = node.spec("one", A)
        await agent.attach(spec)
        node.hns.duplicate(node.endpoints(spec)[0]["ID"])
        assert [words for words in await agent.check(spec) if "is one of 2 of that name" in words]
        assert len(await agent.sandboxes()) == 1
        await agent.attach(spec)
        assert len(node.endpoints(spec)) == 1
        assert await agent.check(spec) == ()
        node.hns.duplicate(node.endpoints(spec)[0]["ID"])
        await agent.detach(spec.sandbox)
        assert node.endpoints(spec) == []


async def test_a_namespace_that_went_first_holds_no_delete_up() -> None:
    async with prepared() as (node, agent):
        spec = node.spec("one", A)
        await agent.attach(spec)
        del node.hns.objects["Namespace"][spec.netns]  # the endpoint still names it
        await agent.detach(spec.sandbox)
        assert node.hns.endpoints() == []


async def test_a_restart_of_hns_takes_network_and_endpoints_and_the_next_pass_makes_the_network_again() -> None:
    async with prepared() as (node, agent):
        spec = node.spec("one", A)
        await agent.attach(spec)
        node.hns.restart()
        assert await agent.sandboxes() == ()
        assert [words for words in await agent.check(spec) if "is missing" in words]
        with pytest.raises(DatapathError, match="HCN_E_NETWORK_NOT_FOUND 0x803b0001"):
            await agent.attach(spec)
        assert (await agent.changed()).cause == "HCN network azure is gone"
        assert (await agent.apply_node(TABLE)).repaired == ("HCN network azure was missing: made",)
        await agent.attach(spec)
        assert await agent.check(spec) == ()


async def test_hns_away_has_words_and_nothing_is_taken_for_done() -> None:
    async with prepared() as (node, agent):
        spec = node.spec("one", A)
        await agent.attach(spec)
        node.hns.away = True
        for verb in (agent.attach(spec), agent.detach(spec.sandbox), agent.sandboxes(), agent.apply_node(TABLE)):
            with pytest.raises(
                DatapathError, match=r"RPC_S_SERVER_UNAVAILABLE 0x800706ba .*is the service hns running"
            ):
                await verb
        node.hns.away = False
        await agent.detach(spec.sandbox)
        assert node.endpoints(spec) == []


async def test_hns_that_hangs_keeps_nobody_for_ever_and_a_delete_behind_it_finds_what_it_made() -> None:
    async with prepared() as (node, agent):
        spec = node.spec("one", A)
        impatient = node.agent(pod_limit_s=0.01)
        impatient._prepared = agent._prepared
        node.hns.hang()
        with pytest.raises(DatapathOutcomeUnknown, match="it has not answered for 0 s"):
            await impatient.attach(spec)
        with pytest.raises(DatapathError, match="restart it: Restart-Service hns"):
            await impatient.detach(spec.sandbox)
        patient = asyncio.create_task(agent.detach(spec.sandbox))
        while node.hns.hanging < 2:  # noqa: ASYNC110  # no event of this loop
            await asyncio.sleep(0)
        node.hns.restart()
        with pytest.raises(DatapathError):
            await patient  # it hung, too: HNS ended in the middle of its call
        await agent.apply_node(TABLE)
        await agent.attach(spec)
        assert await agent.check(spec) == ()


async def test_an_answer_that_makes_no_sense_is_an_error_with_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    async with prepared() as (node, agent):
        for answer in ("", "nonsense", '{"ID": 1}', "[7]", '"x"', "null"):
            monkeypatch.setattr(node.hns, "enumerate", lambda *_, answer=answer: answer)
            with pytest.raises(DatapathError, match=r"cannot read what HNS says of an HCN endpoint: .*it begins"):
                await agent.sandboxes()


async def test_what_windows_cannot_do_is_said() -> None:
    async with prepared() as (node, agent):
        spec = node.spec("one", A)
        with pytest.raises(DatapathError, match=r"an HCN endpoint gets one IPv4 address, not 2"):
            await agent.attach(replace(spec, addresses=(A, B)))
        with pytest.raises(DatapathError, match="cannot wire pods in mode bridge on Windows"):
            await agent.apply_node(replace(TABLE, mode=ModeName.BRIDGE))
        with pytest.raises(DatapathError, match=r"cannot look up the way from 10\.240\.0\.7 .*no routing decisions"):
            await agent.forwarding([IPv4Address("10.240.0.9")], source=A, interface="x")
        assert await agent.occupancy([]) == ()
        assert set(await agent.occupancy([object()] * 2)) == {Occupancy.UNREADABLE}  # type: ignore[list-item]


async def test_endpoints_are_read_once_and_a_listing_is_one_call() -> None:
    async with prepared() as (node, agent):
        for number in range(12):
            await agent.attach(node.spec(f"c{number}", IPv4Address("10.240.1.0") + number))
        await agent.sandboxes()
        node.hns.calls.clear()
        assert len(await agent.sandboxes()) == 12
        assert node.hns.calls == [service.Call("enumerate", "Endpoint")]


async def test_many_pods_come_and_go_at_once_and_nothing_is_left() -> None:
    async with prepared() as (node, agent):
        specs = [node.spec(f"c{number}", IPv4Address("10.240.1.0") + number) for number in range(40)]
        for _ in range(5):
            wirings = await asyncio.gather(*(agent.attach(spec) for spec in specs))
            assert len({wiring.pod.mac for wiring in wirings}) == len(specs)
            assert len(node.hns.endpoints()) == len(await agent.sandboxes()) == len(specs)
            await asyncio.gather(*(agent.detach(spec.sandbox) for spec in specs))
            assert node.hns.endpoints() == []
            assert not any(one["Resources"] for one in node.hns.objects["Namespace"].values())
