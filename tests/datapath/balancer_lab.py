"""Load balancers for the tests of the fabric: frontends, pools and who is in them, as frozen values."""

import enum
import select
import socket
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest

from datapath.fabric_lab import PATIENCE_S, SILENCE_S, Lab
from fakeazure.effective import EffectiveNetwork
from fakeazure.effectivebalancing import BalancingRule, EffectiveLoadBalancer, HealthProbe, OutboundRule, Protocol

FRONT, PUBLIC_FRONT = "10.240.0.50", "198.51.100.150"
GATEWAY = "198.51.100.160"
POOL, PROBE = "/lbs/lb/backendAddressPools/pods", "/lbs/lb/probes/alive"
FRONT_PORT, BACK_PORT = 80, 8080
ALIVE = HealthProbe(PROBE, "Tcp", BACK_PORT, "", 5.0, 1, used_when_all_down=False)

A_RULE = BalancingRule(
    rule_id="/lbs/lb/loadBalancingRules/http",
    frontend=FRONT,
    vnet_id="/vnets/main",
    protocol="Tcp",
    frontend_port=FRONT_PORT,
    backend_port=BACK_PORT,
    floating_ip=False,
    affinity="Default",
    pool_ids=(POOL.upper(),),  # ids are compared without regard to case
    probe=None,
)
A_PUBLIC_RULE = replace(A_RULE, frontend=PUBLIC_FRONT, vnet_id="")


def in_pool(network: EffectiveNetwork, *members: str) -> EffectiveNetwork:
    """These addresses are in the pool, and no others."""
    nics = tuple(
        replace(
            nic,
            addresses=tuple(
                replace(config, load_balancer_pools=(POOL,) if config.address in members else ())
                for config in nic.addresses
            ),
        )
        for nic in network.nics
    )
    return replace(network, nics=nics)


def balanced(
    network: EffectiveNetwork, *members: str, rule: BalancingRule = A_RULE, outbound: tuple[OutboundRule, ...] = ()
) -> EffectiveNetwork:
    """The network with a load balancer of one rule, in front of these addresses."""
    balancer = EffectiveLoadBalancer("/lbs/lb", (POOL,), (rule,), outbound)
    return replace(in_pool(network, *members), load_balancers=(balancer,))


def with_gateway(network: EffectiveNetwork) -> EffectiveNetwork:
    """The nodes' subnet has a NAT gateway."""
    main = network.vnets[0]
    subnet = replace(main.subnets[0], nat_addresses=(GATEWAY,))
    return replace(network, vnets=(replace(main, subnets=(subnet,)), *network.vnets[1:]))


def without_default(network: EffectiveNetwork) -> EffectiveNetwork:
    main = network.vnets[0]
    subnet = replace(main.subnets[0], default_outbound=False)
    return replace(network, vnets=(replace(main, subnets=(subnet,)), *network.vnets[1:]))


def by_balancer(network: EffectiveNetwork, *members: str, protocol: Protocol = "All") -> EffectiveNetwork:
    """A load balancer with an outbound rule, and these in its pool."""
    rule = OutboundRule((PUBLIC_FRONT,), (POOL,), protocol)
    made = balanced(network, *members, outbound=(rule,))
    return replace(made, load_balancers=tuple(replace(one, rules=()) for one in made.load_balancers))


def with_security_group(network: EffectiveNetwork, *numbers: int) -> EffectiveNetwork:
    """These NICs have a network security group of their own."""
    nics = tuple(
        replace(nic, security_group_id="/nsgs/open") if number in numbers else nic
        for number, nic in enumerate(network.nics)
    )
    return replace(network, nics=nics)


def healthy(*members: str) -> frozenset[tuple[str, IPv4Address]]:
    return frozenset((PROBE, IPv4Address(member)) for member in members)


def callers_of(listener: socket.socket, count: int = 1) -> list[str]:
    """The addresses of the next callers, as many as `count`; there must be no more."""
    (callers,) = callers_of_each(listener, count=count)
    return callers


def callers_of_each(*listeners: socket.socket, count: int) -> list[list[str]]:
    """The addresses of the next callers by listener, as many as `count` altogether; there must be no more."""
    callers: dict[socket.socket, list[str]] = {listener: [] for listener in listeners}
    for left in range(count, -1, -1):
        called, _, _ = select.select(listeners, [], [], PATIENCE_S if left else 0)
        if called:
            accepted, caller = called[0].accept()
            accepted.close()
            callers[called[0]].append(caller[0])
    assert sum(map(len, callers.values())) == count
    return list(callers.values())


def connect_often(lab: Lab, namespace: str, source: str, count: int, target: tuple[str, int] = (FRONT, 80)) -> None:
    for _ in range(count):
        lab.connect(namespace, source, target).close()


def answered(client: socket.socket, server: socket.socket) -> bool:
    """Whether the two ends of a connection hear of each other, both ways."""
    client.sendall(b"?")
    server.settimeout(PATIENCE_S)
    client.settimeout(PATIENCE_S)
    if server.recv(10) != b"?":
        return False
    server.sendall(b"!")
    return client.recv(10) == b"!"


class Ending(enum.Enum):
    """How the server's end of a connection that leads nowhere any more learns of that."""

    RESET = enum.auto()
    SILENCE = enum.auto()


def ending(client: socket.socket, server: socket.socket) -> Ending:
    """Both ends send, neither hears the other."""
    client.sendall(b"?")
    server.sendall(b"!")
    client.settimeout(SILENCE_S)
    with pytest.raises(TimeoutError):
        client.recv(10)
    server.settimeout(SILENCE_S)
    try:
        heard_of = server.recv(10)
    except ConnectionResetError:
        return Ending.RESET
    except TimeoutError:
        return Ending.SILENCE
    raise AssertionError(f"the server still hears of its client: {heard_of!r}")


def heard(receiver: socket.socket) -> Any:
    """The source address of the next datagram."""
    receiver.settimeout(PATIENCE_S)
    return receiver.recvfrom(2048)[1][0]


def nothing_came(*receivers: socket.socket) -> bool:
    """Whether there is silence, for a moment."""
    return not select.select(receivers, [], [], SILENCE_S)[0]
