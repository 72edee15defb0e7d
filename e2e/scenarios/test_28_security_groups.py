"""The VNet's own filters and routes hold for a pod by its own address, as for a VM: who is let through, who sees whom.

What two pods of one node say to each other never reaches Azure's network, so no security group judges it.
"""

import json
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from azurebox.client import Box
from azurebox.fabric.topology import ONPREM, ONPREM_NETWORK, PEER, STORAGE
from scenarios.harness.node import AT_REST, Node
from scenarios.harness.pods import PORT, Pod, Workload, ask, on_nodes, servers
from scenarios.harness.product import QUICK, Product
from scenarios.harness.vnet import (
    SUBNET,
    ask_from,
    caller_seen,
    deny,
    guest,
    member,
    route,
    security_group,
    sees,
    storage,
)

APPS, APPS_PREFIX = "apps", "10.240.4.0/24"
CLIENT = "clientip"
COOLED_S = 60.0
SEEN_S = 120.0


@pytest.fixture(scope="module")
def here(box: Box, nodes: list[Node]) -> Iterator[Workload]:
    """Two servers on the first node."""
    with servers(box, "here", node=nodes[0].name, replicas=2) as workload:
        yield workload


@pytest.fixture(scope="module")
def there(box: Box, nodes: list[Node]) -> Iterator[Workload]:
    """Two servers on the second node."""
    with servers(box, "there", node=nodes[1].name, replicas=2) as workload:
        yield workload


@pytest.fixture(scope="module")
def apps(box: Box) -> str:
    """A second subnet, in which no node is; there is no harm in leaving it."""
    box.azure("PATCH", f"/subnets/{APPS}", {"prefix": APPS_PREFIX})
    return APPS


def to(pod: Pod) -> str:
    return f"{pod.address}:{PORT}/{CLIENT}"


def asked(box: Box, caller: Pod, server: Pod) -> str:
    """As whom the server sees the caller; "" when they do not reach each other."""
    return caller_seen(ask(box, caller, [to(server)])[to(server)])


@pytest.mark.parametrize("where", ["subnet", "nic"])
def test_a_pod_is_denied_by_its_address_and_its_neighbour_is_not(
    box: Box, here: Workload, there: Workload, nodes: list[Node], where: str
) -> None:
    """Inbound, from a pod of another node, a peered VNet and on-premises; a pod of the same node gets through."""
    denied, allowed = here.pods()
    caller = there.pods()[0]
    rule = deny("closed", 200, "Inbound", destinationAddressPrefix=str(denied.address), destinationPortRange=str(PORT))
    place = {"subnet": SUBNET} if where == "subnet" else {"nics": [nodes[0].nic_name]}
    with security_group(box, "inbound", [rule], **place):
        assert asked(box, caller, denied) == ""
        assert asked(box, caller, allowed) == str(caller.address)
        for outside in (PEER, ONPREM):
            assert caller_seen(ask_from(f"azbox-{outside.name}", to(denied))) == ""
            assert caller_seen(ask_from(f"azbox-{outside.name}", to(allowed))) == str(outside.address)
        assert asked(box, allowed, denied) == str(allowed.address)
        judged = {rule["name"]: rule["hits"] for rule in box.azure("GET", "/rules/inbound")}
        assert judged["closed"] >= 3  # one SYN of each of the three at least
        assert judged["AllowVnetInBound"] >= 3
    assert asked(box, caller, denied) == str(caller.address)


def test_a_pod_may_not_call_out_and_may_be_called(box: Box, here: Workload, there: Workload) -> None:
    """Outbound, by the pod's own address; a group is stateful, so the pod's answers leave all the same."""
    silent, free = here.pods()
    caller = there.pods()[0]
    rule = deny("silent", 200, "Outbound", sourceAddressPrefix=str(silent.address))
    with security_group(box, "outbound", [rule], subnet=SUBNET):
        for outside in (PEER, ONPREM):
            assert sees(box, silent, outside.address) == ""
            assert sees(box, free, outside.address) == str(free.address)
        assert asked(box, silent, caller) == ""
        assert asked(box, caller, silent) == str(caller.address)
    assert sees(box, silent, ONPREM.address) == str(silent.address)


def test_a_rule_is_the_addresss_and_not_the_pods(box: Box, nodes: list[Node], there: Workload) -> None:
    """The pod that gets the address next is denied as well, and the pod that had it is free of the rule."""
    caller = there.pods()[0]
    with servers(box, "heirs", node=nodes[0].name, replicas=1) as workload:
        first = workload.pods()[0]
        rule = deny("closed", 200, "Inbound", destinationAddressPrefix=str(first.address))
        with security_group(box, "passed-on", [rule], subnet=SUBNET):
            assert asked(box, caller, first) == ""
            workload.settle(0)
            # By the ledger: what kubectl shows comes after it. All that were free before are given first.
            box.wait_for(lambda: nodes[0].ledger().cooling == 0, COOLED_S, "the address to be free again")
            heirs = workload.settle(AT_REST.allocated)
            heir = next((pod for pod in heirs if pod.address == first.address), None)
            assert heir is not None, f"nobody has {first.address}: {sorted(pod.address for pod in heirs)}"
            assert heir.uid != first.uid
            reached = {pod.address: asked(box, caller, pod) for pod in heirs}
        assert reached.pop(first.address) == ""
        assert set(reached.values()) == {str(caller.address)}


def test_addresses_that_the_agent_adds_are_in_the_nics_application_security_group(
    box: Box, nodes: list[Node], there: Workload
) -> None:
    """Azure wants all ipConfigurations of a NIC in the same groups: a rule on the group holds for new pods, too."""
    node, caller = nodes[0], there.pods()[0]
    with member(box, "closed", node.nic_name) as group_id:
        rule = deny("closed", 200, "Inbound", sourceAddressPrefix=str(ONPREM_NETWORK), destinationPortRange=str(PORT))
        del rule["properties"]["destinationAddressPrefix"]
        rule["properties"]["destinationApplicationSecurityGroups"] = [{"id": group_id}]
        with (
            security_group(box, "by-group", [rule], subnet=SUBNET),
            servers(box, "members", node=node.name, replicas=AT_REST.allocated + 1) as workload,
        ):
            configs = node.nic()["properties"]["ipConfigurations"]
            assert len(configs) > AT_REST.allocated + 1, "the NIC has not grown"
            assert {
                tuple(group["id"] for group in config["properties"].get("applicationSecurityGroups", ()))
                for config in configs
            } == {(group_id,)}
            for pod in workload.pods():
                assert asked(box, caller, pod) == str(caller.address)
            for pod in workload.pods()[::6]:  # each costs the patience of a call that nobody answers
                assert caller_seen(ask_from(f"azbox-{ONPREM.name}", to(pod))) == ""
            assert caller_seen(ask_from(f"azbox-{ONPREM.name}", to(caller))) == str(ONPREM.address)


def test_a_route_table_leads_through_an_appliance(box: Box, here: Workload, apps: str) -> None:
    """The appliance forwards, and the far end sees the pod's own address."""
    pod = here.pods()[0]
    with guest("azbox-fw", subnet=apps, forwards=True) as (firewall, address):
        assert sees(box, pod, ONPREM.address) == str(pod.address)
        assert firewall.spoken_through() == set()
        with route(box, str(ONPREM_NETWORK), address):
            assert sees(box, pod, ONPREM.address) == str(pod.address)
            assert (pod.address, ONPREM.address) in firewall.spoken_through()
            assert sees(box, pod, PEER.address) == str(pod.address)
            assert (pod.address, PEER.address) not in firewall.spoken_through()
            assert caller_seen(ask_from(f"azbox-{ONPREM.name}", to(pod))) == str(ONPREM.address)
        with guest("azbox-db", subnet=apps) as (_, database), route(box, f"{database}/32", address):
            assert sees(box, pod, database) == str(pod.address)
            assert (pod.address, database) in firewall.spoken_through()


def test_a_service_endpoint_lets_in_the_nodes_subnet_and_no_other(
    box: Box, here: Workload, product: Product, nodes: list[Node], apps: str
) -> None:
    """Storage sees the node's private address, or the pod's with its prefix among routablePrefixes, and the subnet."""
    target = f"{STORAGE.address}:80/"
    with storage(box), guest("azbox-db", subnet=apps) as (other, _):
        pod = here.pods()[0]
        assert _admitted(ask(box, pod, [target])[target]) == (nodes[0].primary(), SUBNET)
        host = next(host for host in on_nodes(box) if host.node == nodes[0].name)
        assert _admitted(ask(box, host, [target])[target]) == (nodes[0].primary(), SUBNET)
        assert "403 This request is not authorized" in ask_from(other.name, target)
        try:
            product.use({**QUICK, "routablePrefixes": f"{{{ONPREM_NETWORK},{STORAGE.address}/32}}"})
            as_itself = (pod.address, SUBNET)
            box.wait_for(
                lambda: _admitted(ask(box, pod, [target])[target]) == as_itself, SEEN_S, "storage to see the pod itself"
            )
        finally:
            product.use(QUICK)


def _admitted(answer: str) -> tuple[IPv4Address, str]:
    """Whom storage says it sees, and the name of the subnet."""
    assert not answer.startswith("!"), answer
    said = json.loads(answer)
    return IPv4Address(said["caller"]), str(said["subnet"]).rpartition("/")[2]
