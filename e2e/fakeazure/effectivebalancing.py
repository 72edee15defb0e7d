"""What the fabric does with load balancers and NAT gateways: values, as in `fakeazure.effective`.

Public addresses are literal, resource ids full and compared without regard to case. Members of a pool are the
`EffectiveAddress`es that name it in `load_balancer_pools`.
"""

from dataclasses import dataclass
from typing import Literal

Protocol = Literal["Tcp", "Udp", "All"]


@dataclass(frozen=True, slots=True)
class HealthProbe:
    """How a member's health is found out: `Tcp` by a connection, `Http` by GET `path`, which must answer 200.

    A member is down after `threshold` failures in a row, and up after as many successes.
    """

    probe_id: str
    protocol: Literal["Tcp", "Http"]
    port: int
    path: str
    interval_s: float
    threshold: int
    used_when_all_down: bool


@dataclass(frozen=True, slots=True)
class BalancingRule:
    """One rule. Port 0 with protocol `All` stands for every port of TCP and UDP.

    `vnet_id` is where an internal frontend's address lives, "" for a public one. `affinity` says what the choice of a
    member depends on: five values, the two addresses, or these and the protocol.
    """

    rule_id: str
    frontend: str
    vnet_id: str
    protocol: Protocol
    frontend_port: int
    backend_port: int
    floating_ip: bool
    affinity: Literal["Default", "SourceIP", "SourceIPProtocol"]
    pool_ids: tuple[str, ...]
    probe: HealthProbe | None


@dataclass(frozen=True, slots=True)
class OutboundRule:
    """Members of the pools leave the VNet by one of these public addresses; an implicit one is that of a rule."""

    public_addresses: tuple[str, ...]
    pool_ids: tuple[str, ...]
    protocol: Protocol


@dataclass(frozen=True, slots=True)
class EffectiveLoadBalancer:
    """A load balancer of SKU Standard, at work."""

    lb_id: str
    pool_ids: tuple[str, ...]
    rules: tuple[BalancingRule, ...]
    outbound_rules: tuple[OutboundRule, ...]
