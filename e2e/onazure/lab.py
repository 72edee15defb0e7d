"""What the questions are asked with: a VNet of the run's own, and NICs in it that no VM has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Any, Final

from onazure.arm import NETWORK, Answer, Arm, Outcome
from onazure.errors import NotAnsweredError

PREFIX: Final = "10.91.0.0/16"
SUBNETS: Final = {
    "nodes": "10.91.0.0/22",
    "counted": "10.91.4.0/24",
    "tiny": "10.91.5.0/29",
    "split": "10.91.6.0/26",
    "usage": "10.91.7.0/24",
    "blocks": "10.91.8.0/24",
}
"""`tiny` has room for three addresses; `split` for 59, and for two blocks, .16 and .32."""
SPLITTING: Final = ("10.91.6.16", "10.91.6.32")
IPV6: Final = ("10.92.0.0/16", "fd00:92::/48", "10.92.0.0/24", "fd00:92::/64")
"""Of a VNet of its own: its prefixes, then those of its subnet."""


@dataclass(frozen=True, slots=True)
class Config:
    """An ipConfiguration to ask for; one with an address is Static."""

    name: str
    address: str = ""
    prefix_length: int | None = None
    version: str = "IPv4"

    def document(self, subnet_id: str, *, primary: bool, has: str) -> dict[str, Any]:
        """`has` is the address that it holds already, "" for none: a write sends it back, as azure-cni does."""
        chosen = {"privateIPAllocationMethod": "Static", "privateIPAddress": self.address} if self.address else {}
        if has and not self.address:
            chosen = {"privateIPAllocationMethod": "Dynamic", "privateIPAddress": has}
        block = {} if self.prefix_length is None else {"privateIPAddressPrefixLength": self.prefix_length}
        properties = {"subnet": {"id": subnet_id}, "primary": primary, "privateIPAddressVersion": self.version}
        return {"name": self.name, "properties": {**properties, **chosen, **block}}


@dataclass(slots=True)
class Lab:
    """`patience_s` is how long a question waits for something to change."""

    arm: Arm
    location: str
    patience_s: float = 900.0
    poll_s: float = 5.0
    _made: set[str] = field(default_factory=set)

    def path(self, kind: str, name: str = "") -> str:
        return f"{self.arm.inside}/providers/{kind}{f'/{name}' if name else ''}"

    def nic(self, name: str) -> str:
        return self.path("Microsoft.Network/networkInterfaces", name)

    @property
    def vnet(self) -> str:
        return self.path("Microsoft.Network/virtualNetworks", "vnet")

    def make_vnet(self, name: str, prefixes: Sequence[str], subnets: Mapping[str, Sequence[str]]) -> Outcome:
        """A VNet whose subnets have the default way out, which a VM needs for its agent."""
        made = [
            {"name": key, "properties": {**_prefixes(value), "defaultOutboundAccess": True}}
            for key, value in subnets.items()
        ]
        properties = {"addressSpace": {"addressPrefixes": list(prefixes)}, "subnets": made}
        path = self.path("Microsoft.Network/virtualNetworks", name)
        return self.arm.settle("PUT", path, {"location": self.location, "properties": properties})

    def prepare(self) -> None:
        """The VNet of most questions; NotAnsweredError."""
        outcome = self.make_vnet("vnet", [PREFIX], {name: [prefix] for name, prefix in SUBNETS.items()})
        if not outcome.ok:
            raise NotAnsweredError(f"the VNet could not be made: {outcome.words}")

    def put(
        self, name: str, configs: Sequence[Config], *, subnet: str = "nodes", vnet: str = "vnet", if_match: str = ""
    ) -> Outcome:
        """Write a NIC; the first configuration is its primary one."""
        body = self.body(name, configs, subnet=subnet, vnet=vnet)
        headers = {"If-Match": if_match} if if_match else {}
        outcome = self.arm.settle("PUT", self.nic(name), body, headers=headers)
        if outcome.ok:
            self._made.add(name)
        return outcome

    def body(self, name: str, configs: Sequence[Config], *, subnet: str = "nodes", vnet: str = "vnet") -> Any:
        """The whole document of a write."""
        subnet_id = f"{self.path('Microsoft.Network/virtualNetworks', vnet)}/subnets/{subnet}"
        held = self.properties(name) if name in self._made else {}
        has = {key: str(one.get("privateIPAddress") or "") for key, one in held.items()}
        wanted = [
            one.document(subnet_id, primary=not index, has=has.get(one.name, "")) for index, one in enumerate(configs)
        ]
        return {"location": self.location, "properties": {"ipConfigurations": wanted}}

    def must(self, outcome: Outcome, what: str) -> None:
        """NotAnsweredError where something failed that a question only prepares with."""
        if not outcome.ok:
            raise NotAnsweredError(f"{what}: {outcome.words}")

    def read(self, path: str, *, version: str = NETWORK) -> Any:
        """A document; NotAnsweredError."""
        answer: Answer = self.arm.ask("GET", path, version=version)
        if answer.status != 200 or not isinstance(answer.body, dict):
            raise NotAnsweredError(f"{path.rpartition('/')[2]} could not be read: {answer.words}")
        return answer.body

    def properties(self, nic: str) -> dict[str, dict[str, Any]]:
        """Properties of a NIC's ipConfigurations, by name."""
        document = self.read(self.nic(nic))
        return {item["name"]: item["properties"] for item in document["properties"]["ipConfigurations"]}

    def used(self, subnet: str) -> int:
        """How many addresses of a subnet are in use, as the VNet says."""
        found = self.read(f"{self.vnet}/usages").get("value") or ()
        for item in found:
            if str(item["id"]).lower().endswith(f"/subnets/{subnet}".lower()):
                return int(item["currentValue"])
        raise NotAnsweredError(f"the VNet shows no usage of its subnet {subnet}")


def _prefixes(prefixes: Sequence[str]) -> dict[str, Any]:
    return {"addressPrefix": prefixes[0]} if len(prefixes) == 1 else {"addressPrefixes": list(prefixes)}


def lowest(subnet: str, count: int) -> list[str]:
    """The lowest addresses of a subnet that somebody may have: Azure keeps the first four."""
    network = IPv4Network(SUBNETS[subnet])
    return [str(network[4 + index]) for index in range(count)]
