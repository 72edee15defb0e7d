"""Security groups for the tests of the fabric, as frozen values: rules, and the NIC or subnet that has them."""

from dataclasses import replace

from datapath.fabric_lab import with_nic
from fakeazure.effective import EffectiveNetwork
from fakeazure.effectivefilters import EffectiveEnd, EffectiveRule, EffectiveSecurityGroup
from fakeazure.securitygroups import effective

GROUP, OTHER = "/groups/Web", "/groups/other"
ANY = EffectiveEnd(prefixes=("*",), group_ids=(), ports=("*",))


def end(*prefixes: str, ports: tuple[str, ...] = ("*",), groups: tuple[str, ...] = ()) -> EffectiveEnd:
    return EffectiveEnd(prefixes, groups, ports)


def rule(
    name: str,
    priority: int,
    direction: str,
    *,
    allow: bool,
    protocol: str = "*",
    source: EffectiveEnd = ANY,
    target: EffectiveEnd = ANY,
) -> EffectiveRule:
    return EffectiveRule(name, priority, direction, allow, protocol, source, target)  # type: ignore[arg-type]


def group(*rules: EffectiveRule, group_id: str = GROUP) -> EffectiveSecurityGroup:
    defaults = effective(group_id, {}).rules
    return EffectiveSecurityGroup(
        group_id, group_id.rpartition("/")[2], tuple(sorted((*rules, *defaults), key=lambda one: one.priority))
    )


def on_nic(network: EffectiveNetwork, index: int, *rules: EffectiveRule, group_id: str = GROUP) -> EffectiveNetwork:
    """The network with a group of these and the default rules on a NIC."""
    # in another spelling than the group's own: ids are compared without regard to case
    network = with_nic(network, index, security_group_id=group_id.lower())
    return replace(network, security_groups=(*network.security_groups, group(*rules, group_id=group_id)))


def on_subnet(network: EffectiveNetwork, *rules: EffectiveRule, group_id: str = OTHER) -> EffectiveNetwork:
    main, *others = network.vnets
    main = replace(main, subnets=(replace(main.subnets[0], security_group_id=group_id),))
    groups = (*network.security_groups, group(*rules, group_id=group_id))
    return replace(network, vnets=(main, *others), security_groups=groups)
