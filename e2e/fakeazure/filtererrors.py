"""What Azure answers to what it does not take of security rules, routes and subnets.

As in `errors`: what nobody has published is marked.
"""

from collections.abc import Iterable

from fakeazure.errors import ArmError


def rule_conflict(name: str, other: str) -> ArmError:
    text = (
        f"Security rule {other} conflicts with rule {name}. Rules cannot have the same Priority and Direction. "
        "To learn more, see aka.ms/nsgrules."
    )
    return ArmError(400, "SecurityRuleConflict", text, ())


def rule_priority(name: str, priority: object) -> ArmError:
    text = f"Security rule {name} has invalid Priority. Value provided: {priority} Allowed range 100-4096."
    return ArmError(400, "SecurityRuleInvalidPriority", text, ())


def rule_prefix(name: str, prefix: str) -> ArmError:
    text = f"Security rule {name} has invalid Address prefix. Value provided: {prefix}"
    return ArmError(400, "SecurityRuleInvalidAddressPrefix", text, ())


def rule_port(name: str, port: str) -> ArmError:
    text = (
        f"Security rule {name} has invalid Port range. Value provided: {port}. "
        "Value should be an integer OR integer range with '-' delimiter. Valid range 0-65535."
    )
    return ArmError(400, "SecurityRuleInvalidPortRange", text, ())


def rule_end(rule_id: str, *keys: str) -> ArmError:
    """Our own code: the words are quoted in azure-cli issue 8615."""
    text = f"Security rule with Id {rule_id} must specify a non empty value for exactly one of: {', '.join(keys)}."
    return ArmError(400, "SecurityRuleParameterNotSpecified", text, ())


def route_conflict(name: str, other: str) -> ArmError:
    """Our own code: that two routes of a table cannot have one prefix is documented, the error is not."""
    return ArmError(400, "RouteConflict", f"Route {name} has the address prefix of route {other}.", ())


def route_without_hop(name: str) -> ArmError:
    """Our own code: the words are quoted in terraform-azurerm-hubnetworking issue 48."""
    text = f"NextHopIpAddress cannot be Null or Empty in route {name} when NextHopType is VirtualAppliance."
    return ArmError(400, "InvalidRouteNextHopIPAddress", text, ())


def in_use(word: str, resource_id: str, users: Iterable[str]) -> ArmError:
    """`word` is "NetworkSecurityGroup", "RouteTable" or "ApplicationSecurityGroup"."""
    words = {
        "NetworkSecurityGroup": "Network security group",
        "RouteTable": "Route table",
        "ApplicationSecurityGroup": "Application security group",
    }
    text = (
        f"{words[word]} {resource_id} cannot be deleted because it is in use by the following resources: "
        f"{', '.join(users)}. In order to delete the {words[word]}, remove the association with the resource(s). "
        "To learn more, see aka.ms/deletensg."
    )
    return ArmError(400, f"InUse{word}CannotBeDeleted", text, ())


def no_service_endpoint(subnet_id: str, service: str) -> ArmError:
    vnet, _, name = subnet_id.rpartition("/subnets/")
    text = (
        f"Subnets {name} of virtual network {vnet} do not have ServiceEndpoints for {service} resources configured. "
        f"Add {service} to subnet's ServiceEndpoints collection before trying to ACL {service} resources to these "
        "subnets."
    )
    return ArmError(400, "SubnetsHaveNoServiceEndpointsConfigured", text, ())


def subnet_outside(subnet_id: str, *, prefix: str) -> ArmError:
    vnet, _, name = subnet_id.rpartition("/subnets/")
    text = f"Subnet '{name}' is not valid because its IP address range {prefix} is outside the IP address range of "
    return ArmError(400, "NetcfgSubnetRangeOutsideVnet", f"{text}virtual network '{vnet.rsplit('/', 1)[1]}'.", ())


def subnets_overlap(subnet_id: str, *, other_id: str) -> ArmError:
    name, other = subnet_id.rsplit("/", 1)[1], other_id.rsplit("/", 1)[1]
    text = f"Subnet '{name}' is not valid because its IP address range overlaps with that of an existing subnet"
    return ArmError(400, "NetcfgSubnetRangesOverlap", f"{text} '{other}' in the virtual network.", ())


def subnet_in_use(subnet_id: str, why: str) -> ArmError:
    text = f"Subnet {subnet_id.rsplit('/', 1)[1]} is in use and cannot be updated: {why}."
    return ArmError(400, "InUsePrefixCannotBeDeleted", text, ())
