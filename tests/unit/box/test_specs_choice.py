"""Which of Kubernetes' own specs `e2e/box specs` carries out, and what it says of the others."""

from __future__ import annotations

import pytest

from specs.choice import choose

PLAIN = "[sig-network] Services should serve a basic endpoint from pods [Conformance]"
DUAL = "[sig-network] [Feature:IPv6DualStack] should create pod, add ipv6 and ipv4 ip to pod ips"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("[sig-network] Netpol should deny", "engine"),
        ("[sig-network] Services should work after restarting apiserver [Disruptive]", "for themselves"),
        ("[sig-network] Services should be slow [Slow]", "minutes"),
        ("[sig-network] DNS should provide DNS for the cluster [Provider:GCE]", "another cloud"),
        ("[sig-network] LoadBalancers [Feature:LoadBalancer] should change the type", "may lack"),
        ("[sig-network] Service CIDRs [FeatureGate:Multi] [Alpha]", "off"),
        ("[sig-network] Services should serve SCTP", "SCTP"),
        (DUAL, "--dual-stack"),
    ],
)
def test_what_is_left_out_is_counted_with_its_reason(name: str, why: str) -> None:
    chosen, left_out = choose([PLAIN, name], dual_stack=False, sctp=False)
    assert chosen == [PLAIN]
    [(said, number)] = left_out.items()
    assert why in said
    assert number == 1


def test_a_box_of_both_families_and_a_kernel_with_sctp_carry_out_more() -> None:
    names = [PLAIN, DUAL, "[sig-network] Services should serve SCTP"]
    assert choose(names, dual_stack=True, sctp=True) == (names, {})
