"""Names: resource ids, GUIDs, etags, MAC addresses.

Chance comes from one seeded generator, so that a run can be repeated. Resource ids keep the spelling they were made
with and are compared without regard to case, as Azure Resource Manager does.
"""

import random
import uuid
from dataclasses import dataclass
from typing import Final

RESOURCES: Final = "Microsoft.Resources"


@dataclass(frozen=True, slots=True)
class ResourceId:
    """A parsed id below a subscription: `types` and `names` alternate in the path.

    /subscriptions/S/resourceGroups/G/providers/Microsoft.Network/virtualNetworks/V/subnets/N gives
    provider "Microsoft.Network", types ("virtualNetworks", "subnets"), names ("V", "N"). A collection has one type
    more than names; `group` is "" for what lies directly under the subscription.
    """

    subscription: str
    group: str
    provider: str
    types: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def pattern(self) -> str:
        """Lower-case form for dispatch: "microsoft.network/virtualnetworks/*/subnets/*"."""
        parts = [self.provider]
        for index, kind in enumerate(self.types):
            parts += [kind, "*"] if index < len(self.names) else [kind]
        return "/".join(parts).lower()

    @property
    def called(self) -> str:
        """As `called` of its ID."""
        return _called(self.types, self.names)

    @property
    def leaf(self) -> str:
        """The last name, "" for a collection of the subscription or group."""
        return self.names[-1] if self.names else ""

    @property
    def typed_name(self) -> str:
        """As error messages put it: Microsoft.Network/networkInterfaces/x."""
        return "/".join([self.provider, "/".join(self.types), "/".join(self.names)])


def parse_path(path: str) -> ResourceId | None:
    """The resource that a URL path or an id names; None when it is of no known form.

    A group, and a provider of the subscription, are resources of Microsoft.Resources, in no group.
    """
    parts = [part for part in path.split("/") if part]
    if len(parts) < 2 or parts[0].lower() != "subscriptions":
        return None
    subscription, rest, group = parts[1], parts[2:], ""
    if len(rest) >= 2 and rest[0].lower() == "resourcegroups":
        group, rest = rest[1], rest[2:]
    if not rest:
        return ResourceId(subscription, "", RESOURCES, ("resourceGroups",), (group,)) if group else None
    if len(rest) == 2 and rest[0].lower() == "providers" and not group:
        return ResourceId(subscription, "", RESOURCES, ("providers",), (rest[1],))
    if len(rest) < 3 or rest[0].lower() != "providers":
        return None
    return ResourceId(subscription, group, rest[1], tuple(rest[2::2]), tuple(rest[3::2]))


def parent(resource_id: str) -> str:
    """The id two segments up: a subnet's VNet, an IP configuration's NIC."""
    return resource_id.rsplit("/", 2)[0]


def kind(resource_id: str) -> str:
    """The last type in an id: "networkSecurityGroups"."""
    return resource_id.rsplit("/", 2)[1]


def called(resource_id: str) -> str:
    """By which name tests, faults and counts know a resource: its last one. An instance of a Uniform scale set is
    SET_NUMBER, as Azure calls it too, and a NIC of it SET_NUMBER/NIC.
    """
    resource = parse_path(resource_id)
    return resource.called if resource else leaf(resource_id)


def _called(types: tuple[str, ...], names: tuple[str, ...]) -> str:
    if tuple(map(str.lower, types[:2])) != ("virtualmachinescalesets", "virtualmachines") or len(names) < 2:
        return names[-1] if names else ""
    return "/".join((f"{names[0]}_{names[1]}", *names[2:]))


def computer_name(set_name: str, number: int) -> str:
    """What an instance of a Uniform scale set calls itself: the set's name and six digits of base 36, in lower case as
    a node has them.
    """
    digits = ""
    while number or not digits:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return f"{set_name}{digits:0>6}"


def leaf(resource_id: str) -> str:
    return resource_id.rsplit("/", 1)[1]


class Names:
    """Repeatable GUIDs, etags and MAC addresses."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._macs = 0

    def guid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def etag(self) -> str:
        return f'W/"{self.guid()}"'

    def mac(self) -> str:
        """The next address of Microsoft's 00-0D-3A, in the spelling of the API."""
        self._macs += 1
        low = f"{self._macs:06X}"
        return f"00-0D-3A-{low[:2]}-{low[2:4]}-{low[4:]}"

    def word(self, length: int) -> str:
        return "".join(self._random.choices("abcdefghijklmnopqrstuvwxyz234567", k=length))

    def chance(self) -> float:
        return self._random.random()
