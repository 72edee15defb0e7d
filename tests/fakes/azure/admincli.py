"""Look at the fake Azure and change it, in words: the client of the admin API.

`main(["nics"], socket)` prints a table and returns the exit code; `main(["--help"], socket)` tells all words.
"""

import argparse
import http.client
import json
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from fakes.azure.faultkinds import KINDS, WORDS

TIMEOUT_S = 10.0


class CannotAsk(Exception):
    """The admin API refused or was not there; the text says why."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(path: Path, method: str, url: str, fields: dict[str, Any] | None = None) -> bytes:
    """One request to the admin API; raises CannotAsk."""
    connection = _UnixConnection(path)
    try:
        connection.request(method, url, body=json.dumps(fields) if fields else None)
        reply = connection.getresponse()
        body = reply.read()
    except OSError as error:
        raise CannotAsk(f"cannot reach the fake Azure at {path}: {error}; is the box up?") from error
    finally:
        connection.close()
    if reply.status != http.HTTPStatus.OK:
        raise CannotAsk(_why(body))
    return body


def _why(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")


def table(rows: Sequence[dict[str, Any]], *, empty: str) -> str:
    """Rows as aligned columns, headed by their keys."""
    if not rows:
        return empty
    head = [key.replace("_", " ").upper() for key in rows[0]]
    lines = [head, *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ",".join(f"{key}={item}" for key, item in value.items())
    return "" if value is None else str(value)


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
            fields = {"addresses": words.addresses}
        case "write":
            fields = {"keeps_ours": not words.drop_ours}
    ask(path, "POST", f"{_url('nics', words.name)}/{words.word}", fields)
    return f"{words.name}: {words.word}"


def _add_vm(path: Path, words: argparse.Namespace) -> str:
    tags = dict(tag.split("=", 1) for tag in words.tag)
    fields = {name: getattr(words, name) for name in ("name", "subnet", "secondaries", "public_ip")}
    fields["tags"] = tags
    return table([json.loads(ask(path, "POST", "/vms", fields))], empty="")


def _delete_vm(path: Path, words: argparse.Namespace) -> str:
    ask(path, "DELETE", f"{_url('vms', words.name)}?{urlencode({'keep_nic': str(words.keep_nic).lower()})}")
    return f"VM {words.name} deleted, its NIC {'kept' if words.keep_nic else 'too'}"


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
    parser = argparse.ArgumentParser(prog="azure", description="Look at the fake Azure and change it.")
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
    one = word("permissions", _permissions, "show or set what roles allow ('!ACTION' takes one away)")
    one.add_argument("actions", nargs="*", metavar="ACTION")
    one.add_argument(
        "--principal",
        default="*",
        help="a VM's or identity's name; by default all, and then none has a list of its own any more",
    )
    one = word("duration", _duration, "show or set how long a NIC write takes")
    one.add_argument("seconds", type=float, nargs="?")
    word("calls", _calls, "count the requests by operation")
    one = word("changes", _changes, "every change of a NIC's addresses, as JSON lines")
    one.add_argument("--since", type=int, default=0, help="skip that many")
    return parser


def _words_of_nics(word: Any) -> None:
    texts = {
        "touch": "another tool writes a tag: a new etag",
        "write": "another tool's whole PUT: cancels a write under way",
        "appear": "addresses come onto a NIC behind our back",
        "vanish": "addresses go off a NIC behind our back",
    }
    made = {name: word(name, _change_nic, text) for name, text in texts.items()}
    for one in made.values():
        one.add_argument("name", metavar="NIC")
    made["write"].add_argument("--drop-ours", action="store_true", help="without the change that is under way")
    made["appear"].add_argument("count", type=int, nargs="?", default=1)
    made["vanish"].add_argument("addresses", nargs="+", metavar="ADDRESS")
    word("delete-nic", _delete_nic, "delete a NIC that no VM has").add_argument("name")


def _words_of_vms(word: Any) -> None:
    one = word("add-vm", _add_vm, "add a VM with its NIC")
    one.add_argument("name")
    one.add_argument("--subnet", default="")
    one.add_argument("--secondaries", type=int, default=0)
    one.add_argument("--public-ip", default="", help="an address that its primary configuration gets")
    one.add_argument("--tag", action="append", default=[], metavar="NAME=VALUE")
    one = word("delete-vm", _delete_vm, "delete a VM")
    one.add_argument("name")
    one.add_argument("--keep-nic", action="store_true", help="the NIC stays, with its addresses")
    one = word("event", _event, "schedule an event of a VM")
    one.add_argument("name", metavar="VM")
    one.add_argument(
        "kind", nargs="?", default="Freeze", choices=("Freeze", "Reboot", "Redeploy", "Preempt", "Terminate")
    )
    one.add_argument("--in-seconds", type=float, default=900)


def _words_of_faults(word: Any) -> None:
    one = word("fault", _fault, "order a fault: once, unless --times or --seconds says otherwise")
    one.formatter_class = argparse.RawDescriptionHelpFormatter
    one.epilog = "kinds:\n" + "\n".join(f"  {kind:<18}{WORDS[kind]}" for kind in KINDS)
    one.add_argument("kind", choices=list(KINDS), metavar="KIND", help="one of those below")
    one.add_argument("--nic", "--vm", "--resource", dest="resource", help="whose; * for any")
    one.add_argument("--operation", help="which, as `calls` names them; patterns allowed")
    one.add_argument("--times", type=int, help="0: until cleared")
    one.add_argument("--seconds", type=float, help="for how long")
    one.add_argument("--chance", type=float)
    one.add_argument("--duration", type=float, help="of a slow operation, in seconds")
    word("clear", _clear, "take back one fault, or all").add_argument("id", type=int, nargs="?")


def _words_of_subnets(word: Any) -> None:
    one = word("take", _take, "another tool takes addresses of a subnet")
    one.add_argument("count", type=int, nargs="?")
    one.add_argument("--leave", type=int, help="take all but this many")
    one.add_argument("--subnet")
    one = word("give-back", _give_back, "another tool gives addresses back, all by default")
    one.add_argument("count", type=int, nargs="?")
    one.add_argument("--subnet")
    one = word("resize", _resize, "change the prefix of a subnet")
    one.add_argument("prefix")
    one.add_argument("--subnet", default="")


def main(argv: Sequence[str], socket_path: Path | str) -> int:
    """Carry out one command; 0 when it went well, 1 when it was refused, 2 for a wrong word."""
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
