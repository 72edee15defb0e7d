"""The words of the command line about load balancers, public IP addresses, NAT gateways and further NICs."""

import argparse
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fakeazure.admin_client import SUBNET, ask, table

LISTS = {"load-balancers": "every rule with its members, up and down", "public-ips": "", "nat-gateways": ""}
AFFINITY = ("Default", "SourceIP", "SourceIPProtocol")


def add(word: Any) -> None:
    """Add the words to a command line; `word(name, run, text)` adds one."""
    for name, text in LISTS.items():
        word(name, _list, f"list the {name}{text and ': '}{text}")
    _of_load_balancers(word)
    word("add-public-ip", _add_public_ip, "make a public IP address").add_argument("name")
    word("delete-public-ip", _delete, "delete a public IP address that nothing has").add_argument("name")
    one = word("assign", _assign, "give a public IP address to an IP configuration, or take it away")
    one.add_argument("name", metavar="PUBLIC-IP")
    one.add_argument("address", nargs="?", default="", help="the configuration's private address; none takes it away")
    one = word("add-nat-gateway", _add_gateway, "make a NAT gateway with a public IP of its own, for these subnets")
    one.add_argument("name")
    one.add_argument("subnets", nargs="*", metavar="SUBNET", help="which leave by it")
    word("delete-nat-gateway", _delete, "delete a NAT gateway, whatever subnets have it").add_argument("name")
    one = word("add-nic", _add_nic, "give a VM one NIC more; in the box it is eth1, eth2, ...")
    one.add_argument("name", metavar="VM")
    one.add_argument("--subnet", default="", help=SUBNET)
    one = word("remove-nic", _remove_nic, "take a further NIC from a VM and delete it")
    one.add_argument("name", metavar="VM")
    one.add_argument("nic", metavar="NIC")


def _of_load_balancers(word: Any) -> None:
    one = word("load-balancer", _document, "show a load balancer's document")
    one.add_argument("name")
    one = word("add-load-balancer", _add_load_balancer, "make a load balancer with one frontend, pool and rule")
    one.add_argument("name")
    one.add_argument("--public-ip", default="", help="a public frontend; else an internal one")
    one.add_argument("--subnet", default="", help="of an internal frontend")
    one.add_argument("--address", default="", help="of an internal frontend; the first free one by default")
    one.add_argument("--protocol", choices=("Tcp", "Udp", "All"), default="Tcp", help="All takes --port 0")
    one.add_argument("--port", type=int, default=80, help="of the frontend, by default 80")
    one.add_argument("--backend-port", type=int, help="the same as --port by default")
    one.add_argument("--pool", default="pods", help="its backend pool, by default pods")
    one.add_argument("--probe", default="", help="tcp:PORT or http:PORT/PATH; without one, all members are up")
    one.add_argument("--interval", dest="interval_s", type=int, default=5, help="seconds between probes")
    one.add_argument("--threshold", type=int, default=1, help="probes in a row that bring a member up or down")
    one.add_argument("--floating-ip", action="store_true", help="members see the frontend as the destination")
    one.add_argument("--affinity", choices=AFFINITY, default="Default", help="who goes to the same member each time")
    one.add_argument("--outbound", action="store_true", help="members leave by the public frontend")
    word("delete-load-balancer", _delete, "delete a load balancer; its members stay").add_argument("name")
    for name, text in (
        ("join", "put IP configurations into a pool"),
        ("leave", "take IP configurations out of a pool"),
    ):
        one = word(name, _pool, f"{text}, as an administrator would: a write of their NICs")
        one.add_argument("name", metavar="LOAD-BALANCER")
        one.add_argument("addresses", nargs="+", metavar="ADDRESS")
        one.add_argument("--pool", default="pods", help="its backend pool, by default pods")


def _list(path: Path, words: argparse.Namespace) -> str:
    return table(json.loads(ask(path, "GET", f"/{words.word}")), empty=f"no {words.word}")


def _document(path: Path, words: argparse.Namespace) -> str:
    return json.dumps(json.loads(ask(path, "GET", _url("load-balancers", words.name))), indent=1)


def _add_load_balancer(path: Path, words: argparse.Namespace) -> str:
    fields = {key: value for key, value in vars(words).items() if key not in {"word", "run"} and value is not None}
    ask(path, "PUT", _url("load-balancers", words.name), fields)
    rows = json.loads(ask(path, "GET", "/load-balancers"))
    return table([row for row in rows if row["name"] == words.name], empty="")


def _delete(path: Path, words: argparse.Namespace) -> str:
    kind = words.word.removeprefix("delete-")
    ask(path, "DELETE", _url(f"{kind}s", words.name))
    return f"{kind} {words.name} deleted"


def _pool(path: Path, words: argparse.Namespace) -> str:
    fields = {"addresses": words.addresses, "pool": words.pool}
    ask(path, "POST", f"{_url('load-balancers', words.name)}/{words.word}", fields)
    return f"{', '.join(words.addresses)}: {words.word} {words.name}/{words.pool}"


def _add_public_ip(path: Path, words: argparse.Namespace) -> str:
    return table([json.loads(ask(path, "PUT", _url("public-ips", words.name)))], empty="")


def _assign(path: Path, words: argparse.Namespace) -> str:
    ask(path, "POST", f"{_url('public-ips', words.name)}/assign", {"address": words.address})
    return f"{words.name}: {f'assigned to {words.address}' if words.address else 'taken away'}"


def _add_gateway(path: Path, words: argparse.Namespace) -> str:
    reply = ask(path, "PUT", _url("nat-gateways", words.name), {"subnets": words.subnets})
    return table([json.loads(reply)], empty="")


def _add_nic(path: Path, words: argparse.Namespace) -> str:
    reply = ask(path, "POST", f"{_url('vms', words.name)}/nics", {"subnet": words.subnet})
    return table([json.loads(reply)], empty="")


def _remove_nic(path: Path, words: argparse.Namespace) -> str:
    ask(path, "DELETE", f"{_url('vms', words.name)}/nics/{quote(words.nic, safe='')}")
    return f"NIC {words.nic} deleted"


def _url(kind: str, name: str) -> str:
    return f"/{kind}/{quote(name, safe='')}"
