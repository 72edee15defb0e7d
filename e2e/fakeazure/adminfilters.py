"""The requests of the admin API about subnets, security groups, route tables and storage: fields, and what they do.

Names stand for ids, as in the rest of the admin API; "" takes a reference away, None leaves it.
"""

from typing import TYPE_CHECKING, Any

from fakeazure import filters, resources, vnets
from fakeazure.adminmessages import Message
from fakeazure.adminviews import nic_view, subnet_view
from fakeazure.names import leaf
from fakeazure.records import Document
from fakeazure.resources import KINDS

if TYPE_CHECKING:
    from fakeazure.fake import FakeAzure


class ChangeSubnet(Message):
    """A subnet gets what is said here and keeps the rest; one that is not there is made and needs its prefix."""

    name: str
    prefix: str | None = None
    security_group: str | None = None
    route_table: str | None = None
    service_endpoints: tuple[str, ...] | None = None
    default_outbound: bool | None = None
    ipv6: str | None = None

    def run(self, azure: "FakeAzure") -> Any:
        azure.settle()
        try:
            subnet_id = azure.subnet(self.name).id
            properties = vnets.subnet_properties(azure.network.subnets[subnet_id.lower()])
        except KeyError:
            subnet_id, properties = _new_subnet_id(azure, self.name), {}
        if self.prefix is not None:
            properties["addressPrefix"] = self.prefix
        if self.security_group is not None:
            properties["networkSecurityGroup"] = _reference(azure, "networkSecurityGroups", self.security_group)
        if self.route_table is not None:
            properties["routeTable"] = _reference(azure, "routeTables", self.route_table)
        if self.service_endpoints is not None:
            properties["serviceEndpoints"] = [{"service": service} for service in self.service_endpoints]
        if self.default_outbound is not None:
            properties["defaultOutboundAccess"] = self.default_outbound
        subnet, _ = resources.put_subnet(azure, subnet_id, properties)
        if self.ipv6 is not None:
            azure.add_ipv6(self.ipv6, self.name)
        return subnet_view(azure, subnet)


class ChangeNic(Message):
    """Another tool writes a NIC: its security group, the application security groups of all its configurations."""

    name: str
    security_group: str | None = None
    application_security_groups: tuple[str, ...] | None = None
    ip_forwarding: bool | None = None

    def run(self, azure: "FakeAzure") -> Any:
        now = azure.settle()
        nic = azure.nic_record(self.name)
        body = nic.document()
        properties = body["properties"]
        if self.security_group is not None:
            properties["networkSecurityGroup"] = _reference(azure, "networkSecurityGroups", self.security_group)
        if self.ip_forwarding is not None:
            properties["enableIPForwarding"] = self.ip_forwarding
        if self.application_security_groups is not None:
            groups = [_reference(azure, "applicationSecurityGroups", name) for name in self.application_security_groups]
            for config in properties["ipConfigurations"]:
                config["properties"]["applicationSecurityGroups"] = groups
        azure.nics.write(azure.nics.read(nic.id, body), now=now, duration_s=azure.operation_duration_s)
        return nic_view(azure, azure.nic_record(self.name))


class ListResources(Message):
    """All resources of a kind, a line each."""

    kind: str

    def run(self, azure: "FakeAzure") -> Any:
        start = _id(azure, self.kind, "").lower()
        found = [document for key, document in azure.network.others.items() if key.startswith(start)]
        return [_view(azure, self.kind, document) for document in found]


class OneResource(Message):
    """A resource's document, as Resource Manager gives it."""

    kind: str
    name: str

    def run(self, azure: "FakeAzure") -> Any:
        return resources.shown(azure.network, _document(azure, self.kind, self.name))


class PutResource(OneResource):
    """A resource is made or replaced, as a PUT to Resource Manager does it."""

    properties: dict[str, Any]

    def run(self, azure: "FakeAzure") -> Any:
        body = {"location": azure.location, "properties": self.properties}
        return resources.put(azure, _id(azure, self.kind, self.name), body)[0]


class DeleteResource(OneResource):
    """A resource is deleted, unless something refers to it."""

    def run(self, azure: "FakeAzure") -> Any:
        resources.delete(azure, _document(azure, self.kind, self.name)["id"])


class Rules(Message):
    """A security group's rules in the order in which they are judged; `hits` as the fabric counts them."""

    name: str

    def run(self, azure: "FakeAzure") -> Any:
        document = _document(azure, "networkSecurityGroups", self.name)
        group = next(one for one in filters.security_groups(azure.network) if one.group_id == document["id"])
        hits = azure.rule_hits()
        return [
            {
                "direction": rule.direction,
                "priority": rule.priority,
                "name": rule.name,
                "access": "Allow" if rule.allow else "Deny",
                "protocol": rule.protocol,
                "source": _end(rule.source.prefixes, rule.source.group_ids),
                "destination": _end(rule.destination.prefixes, rule.destination.group_ids),
                "ports": ",".join(rule.destination.ports),
                "hits": hits.get((group.name, rule.direction, rule.name), 0),
            }
            for rule in sorted(group.rules, key=lambda rule: (rule.direction, rule.priority))
        ]


class ListStorage(Message):
    """The storage accounts, and whom they let in."""

    def run(self, azure: "FakeAzure") -> Any:
        return [
            {
                "name": account.name,
                "open": account.open,
                "subnets": ",".join(map(leaf, account.subnet_ids)),
            }
            for account in filters.storage(azure.network)
        ]


class PutStorage(Message):
    """A storage account lets everybody in, or these subnets by their service endpoints."""

    name: str
    open: bool = False
    subnets: tuple[str, ...] = ()

    def run(self, azure: "FakeAzure") -> Any:
        subnet_ids = [azure.subnet(name).id for name in self.subnets]
        return resources.put_storage(azure, self.name, open_to_all=self.open, subnet_ids=subnet_ids)


def _id(azure: "FakeAzure", kind: str, name: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"cannot find {kind}: the kinds are {', '.join(KINDS)}")
    return azure.id_of(azure.resource_group, f"Microsoft.Network/{kind}", name)


def _document(azure: "FakeAzure", kind: str, name: str) -> Document:
    document = azure.network.others.get(_id(azure, kind, name).lower())
    if document is None:
        raise KeyError(f"no {name!r} among the {kind}")
    return document


def _reference(azure: "FakeAzure", kind: str, name: str) -> Document | None:
    return {"id": _document(azure, kind, name)["id"]} if name else None


def _new_subnet_id(azure: "FakeAzure", name: str) -> str:
    vnet, _, subnet = name.rpartition("/")
    first = next(iter(azure.network.vnets.values()))
    found = next((one for one in azure.network.vnets.values() if leaf(one.id) == vnet), None if vnet else first)
    if found is None:
        raise KeyError(f"no VNet {vnet!r}")
    return f"{found.id}/subnets/{subnet}"


def _view(azure: "FakeAzure", kind: str, document: Document) -> dict[str, Any]:
    used = [leaf(user) for _, user in filters.users(azure.network, document["id"])]
    children = document["properties"].get(KINDS[kind].children, [])
    return {"name": document["name"], "entries": len(children), "used_by": ",".join(used)}


def _end(prefixes: tuple[str, ...], group_ids: tuple[str, ...]) -> str:
    return ",".join((*prefixes, *(f"asg:{leaf(group_id)}" for group_id in group_ids)))
