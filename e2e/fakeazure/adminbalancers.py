"""The requests of the admin API about load balancers, public IP addresses, NAT gateways and further NICs.

    GET    /load-balancers                    every rule: its frontend, ports, and members, up or down
    GET    /load-balancers/{name}             its document, as the resource manager shows it
    PUT    /load-balancers/{name}             one frontend, pool and rule by the fields of `PutLoadBalancer`
    DELETE /load-balancers/{name}
    POST   /load-balancers/{name}/join        {addresses, pool} an administrator puts IP configurations into a pool
    POST   /load-balancers/{name}/leave       {addresses, pool} and takes them out
    GET    /public-ips
    PUT    /public-ips/{name}                 an address is allocated
    DELETE /public-ips/{name}
    POST   /public-ips/{name}/assign          {address} to the IP configuration with this address; "" takes it away
    GET    /nat-gateways
    PUT    /nat-gateways/{name}               {subnets} with a public IP of its own
    DELETE /nat-gateways/{name}
    POST   /vms/{name}/nics                   {subnet} one NIC more
    DELETE /vms/{name}/nics/{nic}             a further one is taken away

A change of an IP configuration is a write of its NIC, which takes as long as any and cancels one under way.
"""

from collections.abc import Callable
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any, Literal

from fakeazure import loadbalancers, natgateways, publicips, tracked
from fakeazure.adminmessages import Message
from fakeazure.adminviews import vm_view
from fakeazure.lbmembers import members, sku_name
from fakeazure.lbrules import FRONTENDS, POOLS, PROBES, RULES, child_id, name_of, pools_of
from fakeazure.names import leaf, parent
from fakeazure.records import Document

if TYPE_CHECKING:
    from fakeazure.fake import FakeAzure

FRONTEND, PROBE = "frontend", "alive"


class ListLoadBalancers(Message):
    """Every rule of every load balancer."""

    def run(self, azure: "FakeAzure") -> Any:
        azure.settle()
        balancers = list(tracked.of_kind(azure, loadbalancers.KIND))
        return [_rule_view(azure, one, rule) for one in balancers for rule in one["properties"].get(RULES, ())]


class OneLoadBalancer(Message):
    """A load balancer's document."""

    name: str

    def run(self, azure: "FakeAzure") -> Any:
        azure.settle()
        return loadbalancers.shown(azure, tracked.named(azure, loadbalancers.KIND, self.name))


class PutLoadBalancer(OneLoadBalancer):
    """A load balancer with one frontend, pool and rule, or, with `document`, whatever that says.

    Internal in `subnet`, with `address` or the first free one, unless `public_ip` names one. `probe` is "tcp:8080" or
    "http:8080/healthz", "" for none.
    """

    public_ip: str = ""
    subnet: str = ""
    address: str = ""
    protocol: Literal["Tcp", "Udp", "All"] = "Tcp"
    port: int = 80
    backend_port: int | None = None
    pool: str = "pods"
    probe: str = ""
    interval_s: int = 5
    threshold: int = 1
    floating_ip: bool = False
    affinity: Literal["Default", "SourceIP", "SourceIPProtocol"] = "Default"
    outbound: bool = False
    """Members leave by the public frontend: an outbound rule."""
    document: Document | None = None

    def run(self, azure: "FakeAzure") -> Any:
        azure.settle()
        lb_id = _id(azure, loadbalancers.KIND, self.name)
        body = self.document or {
            "location": azure.location,
            "sku": {"name": "Standard"},
            "properties": self._properties(azure, lb_id),
        }
        return loadbalancers.write(azure, lb_id, body)

    def _properties(self, azure: "FakeAzure", lb_id: str) -> Document:
        frontend = {"id": child_id(lb_id, FRONTENDS, FRONTEND)}
        pool = {"id": child_id(lb_id, POOLS, self.pool)}
        rule: Document = {
            "frontendIPConfiguration": frontend,
            "backendAddressPool": pool,
            "protocol": self.protocol,
            "frontendPort": self.port,
            "backendPort": self.port if self.backend_port is None else self.backend_port,
            "enableFloatingIP": self.floating_ip,
            "loadDistribution": self.affinity,
            "disableOutboundSnat": True,
        }
        if self.probe:
            rule["probe"] = {"id": child_id(lb_id, PROBES, PROBE)}
        out = {"frontendIPConfigurations": [frontend], "backendAddressPool": pool, "protocol": "All"}
        return {
            FRONTENDS: [{"name": FRONTEND, "properties": self._frontend(azure)}],
            POOLS: [{"name": self.pool}],
            PROBES: [{"name": PROBE, "properties": self._probe()}] if self.probe else [],
            RULES: [{"name": f"{self.protocol.lower()}-{self.port}", "properties": rule}],
            "outboundRules": [{"name": "outbound", "properties": out}] if self.outbound else [],
        }

    def _frontend(self, azure: "FakeAzure") -> Document:
        if self.public_ip:
            return {"publicIPAddress": {"id": tracked.named(azure, publicips.KIND, self.public_ip)["id"]}}
        static = {"privateIPAllocationMethod": "Static", "privateIPAddress": self.address} if self.address else {}
        return {"subnet": {"id": azure.subnet(self.subnet).id}, **static}

    def _probe(self) -> Document:
        protocol, _, rest = self.probe.partition(":")
        port, slash, path = rest.partition("/")
        if protocol not in {"tcp", "http"} or not port.isdigit() or (protocol == "http") != bool(slash):
            raise ValueError(f"cannot read probe {self.probe!r}: say tcp:PORT or http:PORT/PATH")
        more = {"requestPath": f"/{path}"} if protocol == "http" else {}
        return {
            "protocol": protocol.capitalize(),
            "port": int(port),
            "intervalInSeconds": self.interval_s,
            "probeThreshold": self.threshold,
            **more,
        }


class DeleteLoadBalancer(OneLoadBalancer):
    """A load balancer is deleted; its members stay."""

    def run(self, azure: "FakeAzure") -> Any:
        azure.settle()
        loadbalancers.delete(azure, tracked.named(azure, loadbalancers.KIND, self.name))


class Join(OneLoadBalancer):
    """An administrator puts the IP configurations with these addresses into a pool, one write for each NIC."""

    addresses: tuple[str, ...]
    pool: str = "pods"

    def run(self, azure: "FakeAzure") -> Any:
        pool_id = self._pool_id(azure)

        def add(properties: Document) -> None:
            known = properties.get("loadBalancerBackendAddressPools") or []
            properties["loadBalancerBackendAddressPools"] = [*_without(known, pool_id), {"id": pool_id}]

        _change(azure, self.addresses, add)

    def _pool_id(self, azure: "FakeAzure") -> str:
        return child_id(tracked.named(azure, loadbalancers.KIND, self.name)["id"], POOLS, self.pool)


class Leave(Join):
    """An administrator takes the IP configurations with these addresses out of a pool."""

    def run(self, azure: "FakeAzure") -> Any:
        pool_id = self._pool_id(azure)

        def remove(properties: Document) -> None:
            known = properties.get("loadBalancerBackendAddressPools") or []
            properties["loadBalancerBackendAddressPools"] = _without(known, pool_id)

        _change(azure, self.addresses, remove)


class ListPublicIps(Message):
    """Every public IP address, and what has it."""

    def run(self, azure: "FakeAzure") -> Any:
        azure.settle()
        return [_public_ip_view(document) for document in tracked.of_kind(azure, publicips.KIND)]


class PutPublicIp(Message):
    """A public IP address is made."""

    name: str

    def run(self, azure: "FakeAzure") -> Any:
        return _public_ip_view(_new_public_ip(azure, self.name))


class DeletePublicIp(PutPublicIp):
    """A public IP address that nothing has is deleted."""

    def run(self, azure: "FakeAzure") -> Any:
        azure.settle()
        publicips.delete(azure, tracked.named(azure, publicips.KIND, self.name))


class AssignPublicIp(PutPublicIp):
    """An administrator gives a public IP address to the IP configuration with this address, "" takes it away."""

    address: str = ""

    def run(self, azure: "FakeAzure") -> Any:
        document = tracked.named(azure, publicips.KIND, self.name)
        if self.address:
            _change(
                azure, (self.address,), lambda properties: properties.update(publicIPAddress={"id": document["id"]})
            )
            return
        owner = (document["properties"].get("ipConfiguration") or {}).get("id", "")
        config = azure.config_document(owner)
        if config is None:
            raise ValueError(f"cannot take {self.name} away: no IP configuration has it")
        address = config["properties"]["privateIPAddress"]
        _change(azure, (address,), lambda properties: properties.pop("publicIPAddress", None))


class ListNatGateways(Message):
    """Every NAT gateway, its public address and subnets."""

    def run(self, azure: "FakeAzure") -> Any:
        azure.settle()
        return [_gateway_view(azure, document) for document in tracked.of_kind(azure, natgateways.KIND)]


class PutNatGateway(Message):
    """A NAT gateway with a public IP of its own (NAME-ip), for these subnets and no others."""

    name: str
    subnets: tuple[str, ...] = ()

    def run(self, azure: "FakeAzure") -> Any:
        azure.settle()
        wanted = {azure.subnet(name).id for name in self.subnets}
        public_ip = _new_public_ip(azure, f"{self.name}-ip")
        gateway_id = _id(azure, natgateways.KIND, self.name)
        properties = {"publicIpAddresses": [{"id": public_ip["id"]}]}
        document = natgateways.write(azure, gateway_id, {"location": azure.location, "properties": properties})
        for subnet_id in {*wanted, *natgateways.subnets_of(azure, gateway_id)}:
            natgateways.associate(azure, subnet_id, gateway_id if subnet_id in wanted else "")
        return _gateway_view(azure, document)


class DeleteNatGateway(Message):
    """A NAT gateway is taken from its subnets and deleted, its public IP too."""

    name: str

    def run(self, azure: "FakeAzure") -> Any:
        azure.settle()
        document = tracked.named(azure, natgateways.KIND, self.name)
        for subnet_id in natgateways.subnets_of(azure, document["id"]):
            natgateways.associate(azure, subnet_id, "")
        natgateways.delete(azure, document)
        publicips.delete(azure, tracked.named(azure, publicips.KIND, f"{self.name}-ip"))


class AddNic(Message):
    """A VM gets one NIC more, in a subnet."""

    name: str
    subnet: str = ""

    def run(self, azure: "FakeAzure") -> Any:
        azure.add_nic(self.name, subnet=self.subnet)
        return vm_view(azure, azure.vm(self.name))


class RemoveNic(Message):
    """A further NIC is taken from its VM and deleted."""

    name: str
    nic: str

    def run(self, azure: "FakeAzure") -> Any:
        azure.remove_nic(self.name, self.nic)


ROUTES: dict[tuple[str, str], type[Message]] = {
    ("GET", "/load-balancers"): ListLoadBalancers,
    ("GET", "/load-balancers/{name}"): OneLoadBalancer,
    ("PUT", "/load-balancers/{name}"): PutLoadBalancer,
    ("DELETE", "/load-balancers/{name}"): DeleteLoadBalancer,
    ("POST", "/load-balancers/{name}/join"): Join,
    ("POST", "/load-balancers/{name}/leave"): Leave,
    ("GET", "/public-ips"): ListPublicIps,
    ("PUT", "/public-ips/{name}"): PutPublicIp,
    ("DELETE", "/public-ips/{name}"): DeletePublicIp,
    ("POST", "/public-ips/{name}/assign"): AssignPublicIp,
    ("GET", "/nat-gateways"): ListNatGateways,
    ("PUT", "/nat-gateways/{name}"): PutNatGateway,
    ("DELETE", "/nat-gateways/{name}"): DeleteNatGateway,
    ("POST", "/vms/{name}/nics"): AddNic,
    ("DELETE", "/vms/{name}/nics/{nic}"): RemoveNic,
}


def _id(azure: "FakeAzure", kind: str, name: str) -> str:
    return azure.id_of(azure.resource_group, f"{tracked.NETWORK}/{kind}", name)


def _new_public_ip(azure: "FakeAzure", name: str) -> Document:
    azure.settle()
    properties = {"publicIPAllocationMethod": "Static"}
    body = {"location": azure.location, "sku": {"name": "Standard"}, "properties": properties}
    return publicips.write(azure, _id(azure, publicips.KIND, name), body)


def _change(azure: "FakeAzure", addresses: tuple[str, ...], change: Callable[[Document], object]) -> None:
    """Another tool writes the NICs that have these addresses; raises KeyError for one that no NIC has."""
    now, wanted = azure.settle(), set(addresses)
    held = {config.address for nic in azure.network.nics.values() for config in nic.configs}
    if missing := wanted - held:
        raise KeyError(f"no NIC has {', '.join(sorted(missing))}")
    for nic in list(azure.network.nics.values()):
        if wanted.isdisjoint(config.address for config in nic.configs):
            continue
        body = nic.document()
        for config in body["properties"]["ipConfigurations"]:
            if config["properties"]["privateIPAddress"] in wanted:
                change(config["properties"])
        azure.nics.write(azure.nics.read(nic.id, body), now=now, duration_s=azure.operation_duration_s)
    azure.settle()


def _without(references: list[Document], resource_id: str) -> list[Document]:
    return [reference for reference in references if reference["id"].lower() != resource_id.lower()]


def _rule_view(azure: "FakeAzure", document: Document, rule: Document) -> dict[str, Any]:
    lb_id, properties = document["id"], rule["properties"]
    frontends = {item["name"].lower(): item["properties"] for item in document["properties"][FRONTENDS]}
    frontend = frontends[name_of(lb_id, FRONTENDS, properties["frontendIPConfiguration"]) or ""]
    public = azure.network.others.get((frontend.get("publicIPAddress") or {}).get("id", "").lower())
    probe = name_of(lb_id, PROBES, properties.get("probe"))
    inside = [config for pool in pools_of(lb_id, rule) for config in _addresses_in(azure, child_id(lb_id, POOLS, pool))]
    up = {str(address) for probe_id, address in azure.healthy_members() if leaf(probe_id).lower() == probe
          and parent(probe_id).lower() == lb_id.lower()}  # fmt: skip
    return {
        "name": document["name"],
        "sku": sku_name(document),
        "frontend": public["properties"]["ipAddress"] if public else frontend["privateIPAddress"],
        "port": f"{properties['protocol'].lower()}/{properties['frontendPort']}",
        "to": "floating" if properties["enableFloatingIP"] else str(properties["backendPort"]),
        "up": " ".join(address for address in inside if not probe or address in up),
        "down": " ".join(address for address in inside if probe and address not in up),
    }


def _addresses_in(azure: "FakeAzure", pool_id: str) -> list[str]:
    configs = [azure.config_document(config_id) for config_id in members(azure.network.nics.values(), pool_id)]
    found = {config["properties"]["privateIPAddress"] for config in configs if config}
    return sorted(found, key=lambda text: IPv4Address(text.partition("/")[0]))


def _public_ip_view(document: Document) -> dict[str, Any]:
    properties = document["properties"]
    owner = (properties.get("ipConfiguration") or properties.get("natGateway") or {}).get("id", "")
    return {
        "name": document["name"],
        "address": properties.get("ipAddress") or "",
        "sku": sku_name(document) or "Standard",
        "of": "/".join(owner.split("/")[8::2]),
    }


def _gateway_view(azure: "FakeAzure", document: Document) -> dict[str, Any]:
    public = [azure.network.others.get(item["id"].lower()) for item in document["properties"]["publicIpAddresses"]]
    return {
        "name": document["name"],
        "addresses": " ".join(item["properties"]["ipAddress"] for item in public if item),
        "subnets": " ".join(leaf(subnet_id) for subnet_id in natgateways.subnets_of(azure, document["id"])),
    }
