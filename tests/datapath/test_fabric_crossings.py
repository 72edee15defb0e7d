"""Security groups in front of and behind load balancers: what a rule sees of a balanced connection."""

from dataclasses import replace

import pytest

from azurebox.fabric.kernel import configure
from datapath.balancer_lab import (
    A_PUBLIC_RULE,
    A_RULE,
    BACK_PORT,
    FRONT,
    FRONT_PORT,
    PUBLIC_FRONT,
    answered,
    balanced,
)
from datapath.fabric_lab import PRIMARY_1, PRIMARY_2, PUBLIC_IP, PUBLISHED_1, SECOND_2, Lab
from datapath.filters_lab import end, on_nic, rule
from datapath.namespaces import NEEDS_ROOT

pytestmark = NEEDS_ROOT

ONPREM, INTERNET = "192.168.50.10", "203.0.113.10"


def test_a_rule_at_the_member_sees_the_members_address_and_port(lab: Lab) -> None:
    """Azure documentation, "Azure Load Balancer": the group of a backend is judged behind the translation."""
    server = lab.listener(lab.vm2, SECOND_2, BACK_PORT)
    network = balanced(lab.network, SECOND_2)
    for port, passes in ((FRONT_PORT, True), (BACK_PORT, False)):
        deny = rule("deny", 100, "Inbound", allow=False, target=end(SECOND_2, ports=(str(port),)))
        lab.apply(on_nic(network, 1, deny))
        found = lab.connects if passes else lab.unanswered
        assert found(lab.place("onprem"), ONPREM, (FRONT, FRONT_PORT))
        assert found(lab.vm1, PRIMARY_1, (FRONT, FRONT_PORT))
    server.close()


def test_answers_of_a_member_are_of_the_flow(lab: Lab) -> None:
    """The member's group has the flow by the member's address, the client's by the frontend's."""
    server = lab.listener(lab.vm2, SECOND_2, BACK_PORT)
    shut = [
        rule("in", 100, "Inbound", allow=True, target=end("*", ports=(str(BACK_PORT),))),
        rule("no-more-in", 200, "Inbound", allow=False),
        rule("nothing-out", 100, "Outbound", allow=False),
    ]
    client_rules = [rule("nothing-in", 100, "Inbound", allow=False)]
    network = on_nic(balanced(lab.network, SECOND_2), 1, *shut)
    lab.apply(on_nic(network, 0, *client_rules, group_id="/groups/client"))
    client = lab.connect(lab.vm1, PRIMARY_1, (FRONT, FRONT_PORT))
    accepted, caller = server.accept()
    with accepted:
        assert caller[0] == PRIMARY_1
        assert answered(client, accepted)


def test_with_floating_ip_a_rule_sees_the_frontends_address(lab: Lab) -> None:
    balanced_rule = replace(A_RULE, floating_ip=True, backend_port=FRONT_PORT)
    network = balanced(lab.network, PRIMARY_2, rule=balanced_rule)
    configure(lab.vm2, [f"address replace {FRONT}/32 dev lo"])
    try:
        server = lab.listener(lab.vm2, FRONT, FRONT_PORT)
        lab.apply(on_nic(network, 1, rule("deny", 100, "Inbound", allow=False, target=end(FRONT))))
        assert lab.unanswered(lab.place("onprem"), ONPREM, (FRONT, FRONT_PORT))
        lab.apply(on_nic(network, 1, rule("deny", 100, "Inbound", allow=False, target=end(PRIMARY_2))))
        client = lab.connect(lab.place("onprem"), ONPREM, (FRONT, FRONT_PORT))
        accepted, _ = server.accept()
        with accepted:
            assert answered(client, accepted)
    finally:
        configure(lab.vm2, [f"address delete {FRONT}/32 dev lo"])


@pytest.mark.parametrize("way", ["frontend", "public IP"])
def test_the_internet_comes_in_by_a_rule_that_allows_it(lab: Lab, way: str) -> None:
    """Secure by default: the default rules of a group deny what comes from the internet, a rule with its tag opens."""
    vm, member, target, index = {
        "frontend": (lab.vm2, SECOND_2, (PUBLIC_FRONT, FRONT_PORT), 1),
        "public IP": (lab.vm1, PUBLISHED_1, (PUBLIC_IP, BACK_PORT), 0),
    }[way]
    server = lab.listener(vm, member, BACK_PORT)
    network = balanced(lab.network, SECOND_2, rule=A_PUBLIC_RULE)
    lab.apply(on_nic(network, index))
    assert lab.unanswered(lab.place("internet"), INTERNET, target)
    allow = rule("web", 100, "Inbound", allow=True, source=end("Internet"), target=end(member, ports=(str(BACK_PORT),)))
    lab.apply(on_nic(network, index, allow))
    client = lab.connect(lab.place("internet"), INTERNET, target)
    accepted, caller = server.accept()
    with accepted:
        assert caller[0] == INTERNET
        assert answered(client, accepted)
