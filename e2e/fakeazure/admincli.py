"""The command line of the admin API: shows and changes the fake Azure.

`main(["nics"], socket)` prints a table and returns the exit code; `main(["--help"], socket)` lists all words.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from fakeazure import balancerwords, filterwords
from fakeazure.admin_client import SUBNET, CannotAsk, ask, table
from fakeazure.faultkinds import KINDS, WORDS
from fakeazure.meddlers import MEDDLERS

EVENTS = ("Freeze", "Reboot", "Redeploy", "Preempt", "Terminate")


def _listing(path: Path, words: argparse.Namespace) -> str:
    rows = json.loads(ask(path, "GET", f"/{words.word}"))
    for row in rows:
        row.pop("etag", None)
    return table(rows, empty=f"no {words.word}")


def _nic(path: Path, words: argparse.Namespace) -> str:
    document = json.loads(ask(path, "GET", _url("nics", words.name)))
    if words.json:
        return json.dumps(document, indent=1)
    properties = document["properties"]
    machine = properties.get("virtualMachine", {}).get("id", "/none").rsplit("/", 1)[1]
    head = f"{document['name']}  vm {machine}  {properties['provisioningState']}  etag {document['etag']}"
    rows = [
        {
            "configuration": config["name"],
            "address": config["properties"]["privateIPAddress"],
            "method": config["properties"]["privateIPAllocationMethod"],
            "primary": "primary" if config["properties"]["primary"] else "",
        }
        for config in properties["ipConfigurations"]
    ]
    return f"{head}\n{table(rows, empty='')}"


def _change_nic(path: Path, words: argparse.Namespace) -> str:
    fields: dict[str, Any] = {}
    match words.word:
        case "appear":
            fields = {"count": words.count}
        case "vanish":
            fields = {"addresses": words.addresses, "taken": words.taken}
        case "write":
            fields = {"keeps_ours": not words.drop_ours}
    ask(path, "POST", f"{_url('nics', words.name)}/{words.word}", fields)
    return f"{words.name}: {words.word}"


def _meddle(path: Path, words: argparse.Namespace) -> str:
    ask(path, "POST", f"{_url('nics', words.name)}/meddle", {"by": words.word})
    return f"{words.name}: written by {words.word}; {MEDDLERS[words.word].source}"


def _add_vm(path: Path, words: argparse.Namespace) -> str:
    tags = dict(tag.split("=", 1) for tag in words.tag)
    fields = {name: getattr(words, name) for name in ("name", "subnet", "secondaries", "public_ip")}
    fields["tags"] = tags
    return table([json.loads(ask(path, "POST", "/vms", fields))], empty="")


def _set_vm(path: Path, words: argparse.Namespace) -> str:
    fields = {name: value for name in ("size", "fault_domain") if (value := getattr(words, name)) is not None}
    return table([json.loads(ask(path, "PATCH", _url("vms", words.name), fields))], empty="")


def _delete_vm(path: Path, words: argparse.Namespace) -> str:
    ask(path, "DELETE", f"{_url('vms', words.name)}?{urlencode({'keep_nic': str(words.keep_nic).lower()})}")
    return f"VM {words.name} deleted, its NIC {'kept' if words.keep_nic else 'too'}"


def _reimage(path: Path, words: argparse.Namespace) -> str:
    ask(path, "POST", f"{_url('vms', words.name)}/reimage")
    return f"VM {words.name} reimaged: its NIC has what the model of its scale set says"


def _delete_nic(path: Path, words: argparse.Namespace) -> str:
    ask(path, "DELETE", _url("nics", words.name))
    return f"NIC {words.name} deleted"


def _fault(path: Path, words: argparse.Namespace) -> str:
    names = ("kind", "operation", "resource", "times", "seconds", "chance", "duration")
    fields = {name: value for name in names if (value := getattr(words, name)) is not None}
    return table([json.loads(ask(path, "POST", "/faults", fields))], empty="")


def _clear(path: Path, words: argparse.Namespace) -> str:
    ask(path, "DELETE", "/faults" if words.id is None else f"/faults/{words.id}")
    return "all faults cleared" if words.id is None else f"fault {words.id} cleared"


def _take(path: Path, words: argparse.Namespace) -> str:
    fields = {name: value for name in ("count", "leave", "subnet") if (value := getattr(words, name)) is not None}
    taken = json.loads(ask(path, "POST", "/take", fields))["addresses"]
    return f"another tool took {_addresses(len(taken))}" + (f": {taken[0]} to {taken[-1]}" if taken else "")


def _give_back(path: Path, words: argparse.Namespace) -> str:
    fields = {name: value for name in ("count", "subnet") if (value := getattr(words, name)) is not None}
    given = json.loads(ask(path, "POST", "/give-back", fields))["count"]
    return f"another tool gave {_addresses(given)} back"


def _resize(path: Path, words: argparse.Namespace) -> str:
    fields = {"prefix": words.prefix, "subnet": words.subnet}
    return table([json.loads(ask(path, "PUT", "/subnets", fields))], empty="")


def _permissions(path: Path, words: argparse.Namespace) -> str:
    fields = {"actions": words.actions, "principal": words.principal}
    known = json.loads(ask(path, "PUT", "/permissions", fields) if words.actions else ask(path, "GET", "/permissions"))
    rows = [{"principal": name, "actions": " ".join(actions)} for name, actions in known.items()]
    return table(rows, empty="no permissions")


def _duration(path: Path, words: argparse.Namespace) -> str:
    if words.seconds is not None:
        ask(path, "PUT", "/settings", {"operation_duration_s": words.seconds})
    return f"a NIC write takes {json.loads(ask(path, 'GET', '/settings'))['operation_duration_s']:g} s"


def _event(path: Path, words: argparse.Namespace) -> str:
    fields = {"vm": words.name, "kind": words.kind, "in_seconds": words.in_seconds}
    return f"event {json.loads(ask(path, 'POST', '/events', fields))['EventId']} scheduled"


def _calls(path: Path, _: argparse.Namespace) -> str:
    counts = json.loads(ask(path, "GET", "/calls"))
    rows = [{"operation": name, "requests": count} for name, count in sorted(counts.items())]
    return table(rows, empty="no requests yet")


def _changes(path: Path, words: argparse.Namespace) -> str:
    return ask(path, "GET", f"/changes?since={words.since}").decode().rstrip()


def _addresses(count: int) -> str:
    return "1 address" if count == 1 else f"{count} addresses"


def _url(kind: str, name: str) -> str:
    return f"/{kind}/{quote(name, safe='')}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="azure", description="Show and change the fake Azure.")
    words = parser.add_subparsers(dest="word", required=True, metavar="WORD")

    def word(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        one = words.add_parser(name, help=text, description=text)
        one.set_defaults(run=run)
        return one

    for name in ("nics", "vms", "subnets", "faults"):
        word(name, _listing, f"list the {name}")
    one = word("nic", _nic, "show a NIC")
    one.add_argument("name")
    one.add_argument("--json", action="store_true", help="the whole document")
    _words_of_nics(word)
    _words_of_vms(word)
    _words_of_faults(word)
    _words_of_subnets(word)
    filterwords.add(word)
    balancerwords.add(word)
    one = word("permissions", _permissions, "show or set what roles allow ('!ACTION' removes one)")
    one.add_argument("actions", nargs="*", metavar="ACTION", help="what to allow; none shows what is allowed")
    whose = "a VM's or identity's name; by default all of them, which replaces their own lists"
    one.add_argument("--principal", default="*", help=whose)
    one = word("duration", _duration, "show or set how long a NIC write takes")
    one.add_argument("seconds", type=float, nargs="?", help="from now on; without it, what it takes is shown")
    word("calls", _calls, "count the requests by operation")
    one = word("changes", _changes, "every change of a NIC's addresses, as JSON lines")
    one.add_argument("--since", type=int, default=0, help="skip that many")
    return parser


def _words_of_nics(word: Any) -> None:
    texts = {
        "touch": "another tool writes a tag, which changes the etag",
        "write": "another tool writes the whole NIC, which cancels a write in progress",
        "appear": "another tool adds addresses to a NIC",
        "vanish": "another tool removes addresses from a NIC",
    }
    made = {name: word(name, _change_nic, text) for name, text in texts.items()}
    for one in made.values():
        one.add_argument("name", metavar="NIC")
    made["write"].add_argument("--drop-ours", action="store_true", help="discard the change in progress")
    made["appear"].add_argument("count", type=int, nargs="?", default=1, help="how many, by default 1")
    made["vanish"].add_argument("addresses", nargs="+", metavar="ADDRESS")
    made["vanish"].add_argument("--taken", action="store_true", help="another tool has them at once")
    for name in MEDDLERS:
        word(name, _meddle, f"{name} writes a NIC from what it knows of it").add_argument("name", metavar="NIC")
    word("delete-nic", _delete_nic, "delete a NIC that no VM has").add_argument("name")


def _words_of_vms(word: Any) -> None:
    one = word("add-vm", _add_vm, "add a VM with its NIC")
    one.add_argument("name")
    one.add_argument("--subnet", default="", help=SUBNET)
    one.add_argument("--secondaries", type=int, default=0, help="how many addresses its NIC has beside the first")
    one.add_argument("--public-ip", default="", help="a public address for its primary configuration")
    one.add_argument("--tag", action="append", default=[], metavar="NAME=VALUE", help="of the VM; repeatable")
    one = word("set-vm", _set_vm, "a VM is resized, or redeployed to another host")
    one.add_argument("name")
    one.add_argument("--size", help="such as Standard_D4s_v3")
    one.add_argument("--fault-domain", type=int, help="of the host")
    one = word("delete-vm", _delete_vm, "delete a VM")
    one.add_argument("name")
    one.add_argument("--keep-nic", action="store_true", help="keep the NIC, with its addresses")
    one = word("reimage", _reimage, "reimage an instance of a Uniform scale set, which loses its addresses")
    one.add_argument("name", metavar="VM")
    one = word("event", _event, "schedule an event for a VM")
    one.add_argument("name", metavar="VM")
    one.add_argument("kind", nargs="?", default="Freeze", choices=EVENTS, help="by default Freeze")
    one.add_argument("--in-seconds", type=float, default=900, help="when it happens, by default in 900")


def _words_of_faults(word: Any) -> None:
    one = word("fault", _fault, "inject a fault: once, unless --times or --seconds is given")
    one.formatter_class = argparse.RawDescriptionHelpFormatter
    one.epilog = "kinds:\n" + "\n".join(f"  {kind:<18}{WORDS[kind]}" for kind in KINDS)
    one.add_argument("kind", choices=list(KINDS), metavar="KIND", help="one of the kinds below")
    one.add_argument("--nic", "--vm", "--resource", dest="resource", help="at which resource; * for any")
    one.add_argument("--operation", help="at which operation, as `calls` names them; patterns allowed")
    one.add_argument("--times", type=int, help="how often; 0: until cleared")
    one.add_argument("--seconds", type=float, help="for how long")
    one.add_argument("--chance", type=float, help="how likely each time, from 0 to 1; by default 1")
    one.add_argument("--duration", type=float, help="how long a slow operation takes, in seconds")
    one = word("clear", _clear, "remove one fault, or all")
    one.add_argument("id", type=int, nargs="?", help="as `faults` lists it; without it, all")


def _words_of_subnets(word: Any) -> None:
    one = word("take", _take, "another tool uses addresses of a subnet")
    one.add_argument("count", type=int, nargs="?", help="how many")
    one.add_argument("--leave", type=int, help="instead: take all but this many")
    one.add_argument("--subnet", help=SUBNET)
    one = word("give-back", _give_back, "another tool releases addresses, by default all")
    one.add_argument("count", type=int, nargs="?", help="how many, by default all")
    one.add_argument("--subnet", help=SUBNET)
    one = word("resize", _resize, "change the prefix of a subnet")
    one.add_argument("prefix")
    one.add_argument("--subnet", default="", help=SUBNET)


def main(argv: Sequence[str], socket_path: Path | str) -> int:
    """Run one command; 0 when it succeeded, 1 when it was refused, 2 for wrong usage."""
    try:
        words = _parser().parse_args(list(argv))
    except SystemExit as error:
        return int(error.code or 0)
    try:
        print(words.run(Path(socket_path), words))
    except CannotAsk as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
