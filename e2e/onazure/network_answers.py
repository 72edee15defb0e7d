"""How each question is asked that needs no machine: ANSWERS, by key, each a function that gives a Finding.

Each makes NICs of its own, so that a question that fails leaves the others as they were. `said` is Azure's: numbers,
and the code and words of a refusal.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from onazure.arm import RESOURCES, Outcome
from onazure.errors import NotAnsweredError
from onazure.lab import IPV6, SPLITTING, Config, Lab, lowest
from onazure.questions import AS_TAKEN

WANTED: Final = {"networkInterfaces": "2025-05-01", "virtualNetworks": "2025-05-01"}
OLDEST: Final = "2023-11-01"
VERSION_CODES: Final = frozenset({"NoRegisteredProviderFound", "InvalidApiVersionParameter", "InvalidResourceType"})
FIRST: Final = Config("ipconfig1")
MOST: Final = 256
BLOCK: Final = 16


@dataclass(frozen=True, slots=True)
class Finding:
    """`answer` is AS_TAKEN or one of the question's others."""

    answer: str
    said: str


def api_versions(lab: Lab) -> Finding:
    path = f"{lab.arm.inside.partition('/resourceGroups/')[0]}/providers/Microsoft.Network"
    answer = lab.arm.ask("GET", path, version=RESOURCES)
    if not answer.ok or not isinstance(answer.body, dict):
        raise NotAnsweredError(f"the provider could not be read: {answer.words}")
    kinds = answer.body.get("resourceTypes") or []
    lists = {str(one["resourceType"]): list(map(str, one.get("apiVersions") or ())) for one in kinds}
    said = "; ".join(f"{kind}: {', '.join(lists.get(kind, [])[:3]) or 'none'}" for kind in WANTED)
    if all(version in lists.get(kind, ()) for kind, version in WANTED.items()):
        return Finding(AS_TAKEN, said)
    stable = [[one for one in lists.get(kind, ()) if "preview" not in one and one >= OLDEST] for kind in WANTED]
    return Finding("older" if all(stable) else "too old", said)


def unknown_version(lab: Lab) -> Finding:
    lab.must(lab.put("versions", [FIRST]), "a NIC could not be made")
    answer = lab.arm.ask("GET", lab.nic("versions"), version="1999-01-01")
    if not VERSION_CODES.intersection(answer.codes):
        return Finding("another code", answer.words)
    return Finding(AS_TAKEN if "20" in str(answer.error.get("message", "")) else "no list", answer.words)


def lowest_first(lab: Lab) -> Finding:
    lab.must(lab.put("lowest", [FIRST, Config("a"), Config("b")], subnet="counted"), "a NIC could not be made")
    lab.must(lab.put("lowest", [FIRST, Config("b")], subnet="counted"), "an ipConfiguration could not be removed")
    lab.must(lab.put("lowest", [FIRST, Config("b"), Config("c")], subnet="counted"), "no address could be added")
    got = {name: str(one.get("privateIPAddress")) for name, one in lab.properties("lowest").items()}
    said = f"the first, then a second and third, the second given up, a fourth: {', '.join(got.values())}"
    first, second, third = lowest("counted", 3)
    as_taken = got == {FIRST.name: first, "b": third, "c": second}
    return Finding(AS_TAKEN if as_taken else "another", said)


def etag(lab: Lab) -> Finding:
    lab.must(lab.put("tagged", [FIRST]), "a NIC could not be made")
    old = str(lab.read(lab.nic("tagged")).get("etag") or "")
    lab.must(lab.put("tagged", [FIRST, Config("newer")], if_match=old), "a write with the NIC's own ETag was refused")
    outcome = lab.put("tagged", [FIRST, Config("late")], if_match=old)
    if outcome.ok or "late" in lab.properties("tagged"):
        return Finding("ignored", outcome.words)
    as_taken = outcome.answer.status == 412 and "PreconditionFailed" in outcome.answer.codes
    return Finding(AS_TAKEN if as_taken else "another code", outcome.words)


def held_back(lab: Lab) -> Finding:
    address = "10.91.0.200"
    lab.must(lab.put("first-owner", [FIRST, Config("kept", address)]), "an address could not be claimed")
    lab.must(lab.put("first-owner", [FIRST]), "an ipConfiguration could not be removed")
    began, refusals = lab.arm.now(), 0
    while True:
        outcome = lab.put("next-owner", [FIRST, Config("claimed", address)])
        waited = lab.arm.now() - began
        if outcome.ok:
            return Finding("later" if refusals else AS_TAKEN, f"after {waited:.0f} s and {refusals} refusals")
        refusals += 1
        if waited > lab.patience_s:
            return Finding("not within the time", f"after {waited:.0f} s still: {outcome.words}")
        lab.arm.sleep(lab.poll_s)


def usage_lag(lab: Lab) -> Finding:
    before = lab.used("usage")
    lab.must(lab.put("usage", [FIRST, Config("a"), Config("b")], subnet="usage"), "a NIC could not be made")
    began, reads = lab.arm.now(), 0
    while (seen := lab.used("usage") - before) != 3:
        waited, reads = lab.arm.now() - began, reads + 1
        if waited > lab.patience_s:
            return Finding("not within the time", f"{seen} of 3 addresses after {waited:.0f} s")
        lab.arm.sleep(lab.poll_s)
    return Finding("later" if reads else AS_TAKEN, f"3 addresses after {lab.arm.now() - began:.0f} s")


def full_subnet(lab: Lab) -> Finding:
    lab.must(lab.put("full", [FIRST, Config("a"), Config("b")], subnet="tiny"), "a /29 has no room for three")
    return _full(lab.put("full", [FIRST, Config("a"), Config("b"), Config("c")], subnet="tiny"))


def _full(outcome: Outcome) -> Finding:
    if outcome.ok:
        raise NotAnsweredError("the write was accepted, and the subnet should have no room for it")
    return Finding(AS_TAKEN if "SubnetIsFull" in outcome.answer.codes else "another code", outcome.words)


def most_configurations(lab: Lab) -> Finding:
    configs = [FIRST, *(Config(f"c{index}") for index in range(2, MOST + 1))]
    outcome = lab.put("many", configs)
    if not outcome.ok:
        return Finding("fewer", f"{MOST}: {outcome.words}")
    more = lab.put("many", [*configs, Config(f"c{MOST + 1}")])
    said = f"{MOST} within {outcome.took_s:.0f} s; {MOST + 1}: {more.words}"
    return Finding("more" if more.ok else AS_TAKEN, said)


def block(lab: Lab) -> Finding:
    outcome = lab.put("block", [FIRST, Config("block", prefix_length=28)])
    if not outcome.ok:
        return Finding("refused", outcome.words)
    shown = lab.properties("block")["block"]
    form = (
        f"{shown.get('privateIPAddress')} with privateIPAddressPrefixLength {shown.get('privateIPAddressPrefixLength')}"
    )
    as_taken = str(shown.get("privateIPAddress")).endswith("/28") and shown.get("privateIPAddressPrefixLength") == 28
    return Finding(AS_TAKEN if as_taken else "another form", form)


def block_usage(lab: Lab) -> Finding:
    lab.must(lab.put("counted", [FIRST, Config("block", prefix_length=28)], subnet="blocks"), "it takes no block")
    began = lab.arm.now()
    while (used := lab.used("blocks")) == 0 and lab.arm.now() - began < lab.patience_s:
        lab.arm.sleep(lab.poll_s)
    said = f"{used} for a NIC with one address and one block"
    return Finding({1 + BLOCK: AS_TAKEN, 2: "as 1"}.get(used, "otherwise"), said)


def block_address(lab: Lab) -> Finding:
    lab.must(lab.put("inner", [FIRST, Config("block", prefix_length=28)]), "it takes no block")
    base = str(lab.properties("inner")["block"].get("privateIPAddress")).partition("/")[0]
    inner = base.rpartition(".")[0] + f".{int(base.rpartition('.')[2]) + 5}"
    answer = lab.arm.ask("GET", f"{lab.vnet}/checkIPAddressAvailability", query=f"&ipAddress={inner}")
    if not answer.ok or not isinstance(answer.body, dict):
        raise NotAnsweredError(f"the address could not be checked: {answer.words}")
    available = bool(answer.body.get("available"))
    return Finding("free" if available else AS_TAKEN, f"of a block from {base}, {inner} available: {available}")


def block_fragmented(lab: Lab) -> Finding:
    singles = [Config(f"single{index}", address) for index, address in enumerate(SPLITTING)]
    lab.must(lab.put("split", [FIRST, *singles], subnet="split"), "two addresses could not be claimed")
    outcome = lab.put("split", [FIRST, *singles, Config("block", prefix_length=28)], subnet="split")
    if outcome.ok:
        return Finding("taken", f"it has got {lab.properties('split')['block'].get('privateIPAddress')}")
    return _full(outcome)


def ipv6_block(lab: Lab) -> Finding:
    made = lab.make_vnet("vnet6", IPV6[:2], {"nodes": IPV6[2:]})
    if not made.ok:
        return Finding("refused", f"the VNet: {made.words}")
    outcome = lab.put("six", [FIRST, Config("six", prefix_length=112, version="IPv6")], vnet="vnet6")
    if not outcome.ok:
        return Finding("refused", outcome.words)
    shown = lab.properties("six")["six"]
    as_taken = str(shown.get("privateIPAddress")).endswith("/112")
    return Finding(AS_TAKEN if as_taken else "another form", f"privateIPAddress {shown.get('privateIPAddress')}")


ANSWERS: Final[dict[str, Callable[[Lab], Finding]]] = {
    "api-versions": api_versions,
    "unknown-version": unknown_version,
    "lowest-first": lowest_first,
    "etag": etag,
    "held-back": held_back,
    "usage-lag": usage_lag,
    "full-subnet": full_subnet,
    "most-configurations": most_configurations,
    "block": block,
    "block-usage": block_usage,
    "block-address": block_address,
    "block-fragmented": block_fragmented,
    "ipv6-block": ipv6_block,
}
