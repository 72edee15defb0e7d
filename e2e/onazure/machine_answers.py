"""How each question is asked that needs a running VM: ANSWERS, by key, as in `network_answers`."""

import re
import secrets
from collections.abc import Callable
from typing import Final

from onazure.errors import NotAnsweredError
from onazure.lab import Config
from onazure.machine import ATTESTED, NIC, PRIMARY, Machine
from onazure.network_answers import Finding
from onazure.questions import AS_TAKEN

LONGEST_WRITE_S: Final = 60.0
LONGEST_LAG_S: Final = 20.0
BUSY_CODES: Final = frozenset(
    {"RetryableError", "RetryableErrorDueToAnotherOperation", "AnotherOperationInProgress", "Canceled"}
    | {"CanceledAndSupersededDueToAnotherOperation", "PreconditionFailed", "OperationPreempted"}
)
SIGNER: Final = re.compile(r"subject=.*\bCN ?= ?(?:[\w-]+\.)*metadata\.azure\.(?:com|us|cn)(?=[\s,/]|$)", re.MULTILINE)
NONCE_DIGITS: Final = 10


def write_time(machine: Machine) -> Finding:
    lab, shown, longest = machine.lab, [], 0.0
    for count in (1, 16, 250, 1):
        outcome = lab.put(NIC, [PRIMARY, *(Config(f"pod{index}") for index in range(count))])
        lab.must(outcome, f"{count} addresses could not be put on the VM's NIC")
        shown.append(f"{outcome.took_s:.0f} s for {count}")
        longest = max(longest, outcome.took_s)
    lab.must(lab.put(NIC, [PRIMARY]), "the addresses could not be removed")
    return Finding(AS_TAKEN if longest <= LONGEST_WRITE_S else "longer", ", ".join(shown))


def write_in_write(machine: Machine) -> Finding:
    lab = machine.lab
    began, old = lab.arm.now(), str(lab.read(lab.nic(NIC)).get("etag") or "")
    first = lab.arm.ask("PUT", lab.nic(NIC), lab.body(NIC, [PRIMARY, Config("first")]))
    tagged = lab.arm.ask("PUT", lab.nic(NIC), lab.body(NIC, [PRIMARY, Config("late")]), headers={"If-Match": old})
    second = lab.arm.ask("PUT", lab.nic(NIC), lab.body(NIC, [PRIMARY, Config("second")]))
    ends = [lab.arm.end_of(one, lab.nic(NIC), began=began) if one.ok else None for one in (first, second)]
    lab.must(lab.put(NIC, [PRIMARY]), "the addresses could not be removed")
    words = [end.words if end else one.words for end, one in zip(ends, (first, second), strict=True)]
    said = f"the first: {words[0]}; with the ETag from before: {tagged.words}; the second: {words[1]}"
    failed = [end.answer.codes if end else one.codes for end, one in zip(ends, (first, second), strict=True)]
    strange = [codes for codes in [*failed, tagged.codes] if codes and not BUSY_CODES.intersection(codes)]
    return Finding("another code" if strange else AS_TAKEN, said)


def metadata_lag(machine: Machine) -> Finding:
    lab = machine.lab
    done, lines = machine.watched(lambda: lab.must(lab.put(NIC, [PRIMARY, Config("seen")]), "no address was added"))
    address = str(lab.properties(NIC)["seen"]["privateIPAddress"])
    lab.must(lab.put(NIC, [PRIMARY]), "the address could not be removed")
    seen = next((at for at, shown in lines if address in shown), None)
    if seen is None:
        return Finding("later", f"not within {machine.watch_s:.0f} s: {lines[-1:]}")
    return Finding(AS_TAKEN if seen - done <= LONGEST_LAG_S else "later", f"{seen - done:.1f} s after the write's end")


def metadata_block(machine: Machine) -> Finding:
    lab = machine.lab
    block = Config("block", prefix_length=28)
    _, lines = machine.watched(lambda: lab.must(lab.put(NIC, [PRIMARY, block]), "no block was added"))
    lab.must(lab.put(NIC, [PRIMARY]), "the block could not be removed")
    if not lines:
        raise NotAnsweredError("the metadata service showed nothing")
    new = [one for one in lines[-1][1] if one not in lines[0][1]]
    said = f"{', '.join(new) or 'nothing new'} within {machine.watch_s:.0f} s"
    if not new:
        return Finding("not at all", said)
    return Finding(AS_TAKEN if [one.endswith("/28") for one in new] == [True] else "another form", said)


def attested(machine: Machine) -> Finding:
    nonce = "".join(secrets.choice("123456789") for _ in range(NONCE_DIGITS))
    shown = machine.end(machine.begin(ATTESTED.replace("NONCE", nonce)))
    said = "; ".join(line for line in shown.splitlines() if line.strip())
    if "signature: good" not in shown:
        raise NotAnsweredError(f"the document's signature could not be read: {said}")
    if "nonce: there" not in shown:
        return Finding("without the nonce", said)
    return Finding(AS_TAKEN if SIGNER.search(shown) else "another signer", said)


ANSWERS: Final[dict[str, Callable[[Machine], Finding]]] = {
    "write-time": write_time,
    "write-in-write": write_in_write,
    "metadata-lag": metadata_lag,
    "metadata-block": metadata_block,
    "attested": attested,
}
