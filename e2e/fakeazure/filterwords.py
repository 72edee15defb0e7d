"""The words of the admin command line about subnets, security groups, route tables and storage accounts."""

import argparse
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fakeazure.admin_client import ask, table

KINDS = {
    "nsgs": "networkSecurityGroups",
    "asgs": "applicationSecurityGroups",
    "route-tables": "routeTables",
}
HOPS = ("VirtualAppliance", "None", "Internet", "VnetLocal", "VirtualNetworkGateway")


def add(word: Any) -> None:
    """Add the words to a command line; `word(name, run, text)` adds one."""
    for name, kind in KINDS.items():
        word(name, _list, f"list the {kind}")
    _of_groups(word)
    _of_tables(word)
    _of_subnets(word)
    word("storage", _list_storage, "list the storage accounts")
    one = word("set-storage", _set_storage, "make a storage account, or change whom it lets in")
    one.add_argument("name")
    one.add_argument("--open", action="store_true", help="everybody; else the subnets alone")
    one.add_argument("--subnet", action="append", default=[], help="a subnet with a Microsoft.Storage endpoint")


def _of_groups(word: Any) -> None:
    word("nsg", _rules, "show a security group's rules, with what each one judged").add_argument("name")
    word("add-nsg", _put_empty, "make a network security group, with the default rules").add_argument("name")
    word("add-asg", _put_empty, "make an application security group").add_argument("name")
    for name in ("delete-nsg", "delete-asg", "delete-route-table"):
        word(name, _delete, f"{name.replace('-', ' ')} that nothing uses").add_argument("name")
    one = word("rule", _rule, "make or replace a rule of a security group")
    one.add_argument("group")
    one.add_argument("name")
    one.add_argument("--priority", type=int, required=True, help="the lowest that fits decides")
    one.add_argument("--direction", choices=("Inbound", "Outbound"), default="Inbound", help="by default Inbound")
    one.add_argument("--access", choices=("Allow", "Deny"), default="Allow", help="by default Allow")
    one.add_argument("--protocol", default="*", help="Tcp, Udp, Icmp, Esp, Ah or *")
    one.add_argument("--source", nargs="+", default=["*"], help="prefixes, one tag, or asg:NAME")
    one.add_argument("--destination", nargs="+", default=["*"], help="the same")
    one.add_argument("--ports", nargs="+", default=["*"], help="destination ports: 80 or 80-90")
    one = word("delete-rule", _delete_child, "delete a rule of a security group")
    one.add_argument("parent", metavar="group")
    one.add_argument("name")


def _of_tables(word: Any) -> None:
    word("add-route-table", _put_empty, "make a route table").add_argument("name")
    word("route-table", _routes, "show the routes of a route table").add_argument("name")
    one = word("route", _route, "make or replace a route of a route table")
    one.add_argument("table")
    one.add_argument("name")
    one.add_argument("prefix")
    one.add_argument("hop", choices=HOPS)
    one.add_argument("address", nargs="?", help="of the appliance")
    one = word("delete-route", _delete_child, "delete a route of a route table")
    one.add_argument("parent", metavar="table")
    one.add_argument("name")


def _of_subnets(word: Any) -> None:
    one = word("set-subnet", _set_subnet, "make a subnet, or change what applies to all in it; '' removes")
    one.add_argument("name", help="NAME, or VNET/NAME")
    one.add_argument("--prefix", help="needed for a new one")
    one.add_argument("--nsg", dest="security_group", metavar="NSG", help="the network security group of all in it")
    one.add_argument("--route-table", help="its route table")
    one.add_argument("--endpoints", dest="service_endpoints", nargs="*", metavar="SERVICE", help="Microsoft.Storage")
    one.add_argument("--default-outbound", choices=("true", "false"), help="a way out that nothing else gives")
    one = word("set-nic", _set_nic, "write a NIC as another tool would: its groups, IP forwarding")
    one.add_argument("name", metavar="NIC")
    one.add_argument("--nsg", dest="security_group", metavar="NSG", help="its network security group; '' removes")
    asgs = "its application security groups, all of them; none removes"
    one.add_argument("--asgs", dest="application_security_groups", nargs="*", metavar="ASG", help=asgs)
    one.add_argument("--ip-forwarding", choices=("true", "false"), help="whether it takes packets for others")


def _list(path: Path, words: argparse.Namespace) -> str:
    rows = json.loads(ask(path, "GET", f"/resources/{KINDS[words.word]}"))
    return table(rows, empty=f"no {words.word}")


def _rules(path: Path, words: argparse.Namespace) -> str:
    return table(json.loads(ask(path, "GET", f"/rules/{quote(words.name, safe='')}")), empty="")


def _routes(path: Path, words: argparse.Namespace) -> str:
    routes = json.loads(ask(path, "GET", _url("routeTables", words.name)))["properties"]["routes"]
    rows = [
        {
            "name": route["name"],
            "prefix": route["properties"]["addressPrefix"],
            "next_hop": route["properties"]["nextHopType"],
            "address": route["properties"].get("nextHopIpAddress", ""),
        }
        for route in routes
    ]
    return table(rows, empty="no routes")


def _put_empty(path: Path, words: argparse.Namespace) -> str:
    ask(path, "PUT", _url(KINDS[f"{words.word.removeprefix('add-')}s"], words.name), {"properties": {}})
    return f"{words.name}: made"


def _delete(path: Path, words: argparse.Namespace) -> str:
    ask(path, "DELETE", _url(KINDS[f"{words.word.removeprefix('delete-')}s"], words.name))
    return f"{words.name}: deleted"


def _rule(path: Path, words: argparse.Namespace) -> str:
    ids = {group: json.loads(ask(path, "GET", _url(KINDS["asgs"], group)))["id"] for group in _groups(words)}
    properties = {
        "priority": words.priority,
        "direction": words.direction,
        "access": words.access,
        "protocol": words.protocol,
        "sourcePortRange": "*",
        **_values("destinationPortRange", words.ports),
        **_end("source", words.source, ids),
        **_end("destination", words.destination, ids),
    }
    _change(path, KINDS["nsgs"], words.group, "securityRules", words.name, properties)
    return _rules(path, argparse.Namespace(name=words.group))


def _route(path: Path, words: argparse.Namespace) -> str:
    properties = {"addressPrefix": words.prefix, "nextHopType": words.hop}
    if words.address:
        properties["nextHopIpAddress"] = words.address
    _change(path, KINDS["route-tables"], words.table, "routes", words.name, properties)
    return _routes(path, argparse.Namespace(name=words.table))


def _delete_child(path: Path, words: argparse.Namespace) -> str:
    kind, children = (
        (KINDS["nsgs"], "securityRules") if words.word == "delete-rule" else (KINDS["route-tables"], "routes")
    )
    _change(path, kind, words.parent, children, words.name, None)
    return f"{words.name} of {words.parent}: deleted"


def _change(path: Path, kind: str, name: str, children: str, child: str, properties: dict[str, Any] | None) -> None:
    """Replace one child of a resource, or remove it."""
    document = json.loads(ask(path, "GET", _url(kind, name)))["properties"]
    rest = [one for one in document[children] if one["name"].lower() != child.lower()]
    new = [] if properties is None else [{"name": child, "properties": properties}]
    ask(path, "PUT", _url(kind, name), {"properties": {**document, children: [*rest, *new]}})


def _groups(words: argparse.Namespace) -> list[str]:
    return [text.removeprefix("asg:") for text in (*words.source, *words.destination) if text.startswith("asg:")]


def _end(end: str, texts: list[str], ids: dict[str, str]) -> dict[str, Any]:
    groups = [ids[text.removeprefix("asg:")] for text in texts if text.startswith("asg:")]
    if groups:
        return {f"{end}ApplicationSecurityGroups": [{"id": group_id} for group_id in groups]}
    return {f"{end}AddressPrefix": texts[0]} if len(texts) == 1 else {f"{end}AddressPrefixes": texts}


def _values(key: str, texts: list[str]) -> dict[str, Any]:
    return {key: texts[0]} if len(texts) == 1 else {f"{key}s": texts}


def _set_subnet(path: Path, words: argparse.Namespace) -> str:
    names = ("prefix", "security_group", "route_table", "service_endpoints")
    fields = {name: value for name in names if (value := getattr(words, name)) is not None}
    if words.default_outbound:
        fields["default_outbound"] = words.default_outbound == "true"
    return table([json.loads(ask(path, "PATCH", f"/subnets/{quote(words.name)}", fields))], empty="")


def _set_nic(path: Path, words: argparse.Namespace) -> str:
    names = ("security_group", "application_security_groups")
    fields = {name: value for name in names if (value := getattr(words, name)) is not None}
    if words.ip_forwarding:
        fields["ip_forwarding"] = words.ip_forwarding == "true"
    return table([json.loads(ask(path, "PATCH", f"/nics/{quote(words.name, safe='')}", fields))], empty="")


def _list_storage(path: Path, _: argparse.Namespace) -> str:
    return table(json.loads(ask(path, "GET", "/storage")), empty="no storage accounts")


def _set_storage(path: Path, words: argparse.Namespace) -> str:
    fields = {"open": words.open, "subnets": words.subnet}
    ask(path, "PUT", f"/storage/{quote(words.name, safe='')}", fields)
    return _list_storage(path, words)


def _url(kind: str, name: str) -> str:
    return f"/resources/{kind}/{quote(name, safe='')}"
