"""nftables by its own program: the node's table is changed seldom, and `nft -f` is one transaction of the kernel."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from azure_cni.datapath.node_table import TABLE
from azure_cni.errors import DatapathError
from azure_cni.linux import xt_matches
from azure_cni.model.text import NOT_JSON

_TIMEOUT_S = 20.0
_MISSING = "No such file or directory"


def load(ruleset: str) -> None:
    """Carry out a script, all of it or nothing."""
    done = _nft("-f", "-", script=ruleset)
    if done.returncode:
        raise DatapathError(f"cannot apply nftables table {TABLE}: {_complaint(done)}")


def change(script: str) -> bool:
    """Carry out a script about parts of the node's table, all of it or nothing; False where it has no such parts."""
    done = _nft("-f", "-", script=script)
    if done.returncode and _MISSING not in done.stderr:
        raise DatapathError(f"cannot change nftables table {TABLE}: {_complaint(done)}")
    return done.returncode == 0


def contents(family: str = "inet") -> list[Any] | None:
    """What the node's table of this family holds, without counters and handles; None where there is none.

    It means the same however it was worded: the same rules and elements compare equal, whichever nft loaded them.
    """
    done = _nft("--json", "--stateless", "list", "table", family, TABLE)
    if done.returncode == 0:
        return [_meaning(item) for item in _decoded(done.stdout) if "metainfo" not in item]
    if _MISSING in done.stderr:
        return None
    raise DatapathError(f"cannot read nftables table {family} {TABLE}: {_complaint(done)}")


def with_elements(contents: list[Any], name: str, elements: Iterable[str]) -> list[Any]:
    """Such contents after the elements of a set were replaced."""
    listed = sorted(elements, key=msgspec.json.encode)
    return [
        {
            "set": {key: value for key, value in item["set"].items() if key != "elem"}
            | ({"elem": listed} if listed else {})
        }
        if item.get("set", {}).get("name") == name
        else item
        for item in contents
    ]


def all_chains() -> list[dict[str, dict[str, Any]]]:
    """Every chain of every table, without rules, as nft writes them."""
    done = _nft("--json", "list", "chains")
    if done.returncode:
        raise DatapathError(f"cannot list the chains of nftables: {_complaint(done)}")
    return _decoded(done.stdout)


def rules_of(family: str, table: str) -> dict[str, list[dict[str, Any]]]:
    """The rules of each chain of somebody else's table, as nft writes them.

    What iptables stored of its modules is opaque in JSON, and is put there as far as the kernel's own data says it.
    """
    done = _nft("--json", "--stateless", "list", "table", family, table)
    if done.returncode:
        raise DatapathError(f"cannot read nftables table {family} {table}: {_complaint(done)}")
    items = _decoded(done.stdout)
    rules: dict[str, list[dict[str, Any]]] = {item["chain"]["name"]: [] for item in items if "chain" in item}
    for rule in (item["rule"] for item in items if "rule" in item):
        rules.setdefault(rule["chain"], []).append(rule)
    if any("xt" in expression for chain in rules.values() for rule in chain for expression in rule["expr"]):
        known = xt_matches.matches(family, table)
        for rule in (rule for chain in rules.values() for rule in chain):
            rule["expr"] = [known.get((rule["handle"], _module(one)), one) for one in rule["expr"]]
    return rules


def _module(expression: Mapping[str, Any]) -> str:
    """The name of iptables' module that a match is of; "" for any other expression."""
    opaque = expression.get("xt") or {}
    return str(opaque.get("name")) if opaque.get("type") == "match" else ""


def _decoded(text: str) -> list[dict[str, dict[str, Any]]]:
    try:
        return msgspec.json.decode(text)["nftables"]  # type: ignore[no-any-return]
    except (*NOT_JSON, TypeError, KeyError) as error:
        raise DatapathError(f"cannot read nftables: nft wrote no JSON ({text[:100]!r})") from error


def _meaning(item: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """One chain, rule or set, without what differs from load to load, and from one nft to the next.

    A set's type is `ipv4_addr` or `typeof ip saddr`, as it was written or as that nft lists it: to the kernel it is the
    same, and another type has other elements.
    """
    ((kind, body),) = item.items()
    said = {key: value for key, value in body.items() if key != "handle" and (kind, key) != ("set", "type")}
    if "elem" in said:
        said["elem"] = sorted(said["elem"], key=msgspec.json.encode)
    return {kind: said}


def _nft(*arguments: str, script: str | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 - fixed arguments; PATH is the image's
            ["nft", *arguments],  # noqa: S607
            input=script,
            capture_output=True,
            encoding="utf-8",
            errors="replace",  # comments are others', and only bytes to the kernel
            timeout=_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise DatapathError(
            "cannot use nftables: there is no program nft in PATH; install nftables (the project's image has it)"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise DatapathError(f"cannot use nftables: nft gave no answer in {_TIMEOUT_S:.0f} s") from error


def _complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The first line that nft wrote: the rest repeats the script with a pointer into it."""
    lines = done.stderr.strip().splitlines() or [f"nft ended with {done.returncode}"]
    return lines[0]
