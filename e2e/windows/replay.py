"""A record of what a real HNS answered, call by call, replayed in the stand-in: where it answers otherwise, in words.

    PYTHONPATH=operator:e2e .venv/bin/python -m windows.replay RECORD

Records are made by `azure_cni.windows.hns_recording`. IDs are HNS's own, so they are paired as they appear. What
was on the node before is put into the stand-in first, as it was shown. Compared are whether a call succeeds, by which
code it fails, and of an answer the fields and their types.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from azure_cni.windows.hcn import HcnCall
from azure_cni.windows.recording import FORMAT, RecordedCall, RecordHead
from fakehns.service import FakeHns, RefusedCall

_GUID: Final = re.compile("[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_ADAPTER: Final = re.compile(r""""NetworkAdapterName": ?("(?:[^"\\]|\\.)*")""")


@dataclass(frozen=True, slots=True)
class Record:
    """One file."""

    head: RecordHead
    calls: Sequence[RecordedCall]


def read_record(text: str) -> Record:
    """ValueError for anything else."""
    first, *rest = [line for line in text.split("\n") if line.strip()] or [""]
    head = msgspec.json.decode(first, type=RecordHead)
    if head.format != FORMAT:
        raise ValueError(f"cannot replay a record of format {head.format}: this is for format {FORMAT}")
    return Record(head, [msgspec.json.decode(line, type=RecordedCall) for line in rest])


def differences(record: Record, hns: FakeHns | None = None) -> list[str]:
    """Where the stand-in answers otherwise than HNS did, in the order of the calls."""
    replay = _Replay(hns or FakeHns(), record.calls)
    return [f"{one.step}: {one.call} {one.kind}: {words}" for one in record.calls for words in replay.compared(one)]


@dataclass
class _Replay:
    """`paired`: the stand-in's ID for each of HNS's."""

    hns: FakeHns
    calls: Sequence[RecordedCall]
    paired: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        made = {_id_of(one.answer) for one in self.calls if one.call is HcnCall.CREATE and not one.result}
        for one in self.calls:
            self.hns.adapters |= {json.loads(name) for name in _ADAPTER.findall(one.sent)}
            identifier = one.identifier.lower()
            shown = one.call is HcnCall.QUERY and not one.result
            if shown and identifier not in made and identifier not in self.hns.objects[one.kind]:
                self.hns.objects[one.kind][identifier] = json.loads(one.answer) | {"ID": identifier}
                self.paired[identifier] = identifier

    def compared(self, one: RecordedCall) -> Iterator[str]:
        """The same call here, and how its answer differs."""
        try:
            answer, result = self._made(one), 0
        except RefusedCall as refused:
            answer, result = "", refused.result
        if result != one.result:
            yield f"HNS answers 0x{one.result:08x}, and the stand-in 0x{result:08x}"
        if result or one.result or not one.answer:
            return
        theirs, ours = json.loads(one.answer), json.loads(answer)
        if one.call is HcnCall.ENUMERATE:
            known = sorted(self._here(it) for it in theirs)
            if known != sorted(it.lower() for it in ours):
                yield f"HNS lists {len(theirs)}, and the stand-in {len(ours)} or others"
            return
        if one.call is HcnCall.CREATE:
            self.paired[str(theirs.get("ID", "")).lower()] = str(ours["ID"]).lower()
        yield from _unlike(theirs, ours, "")

    def _made(self, one: RecordedCall) -> str:
        identifier, sent = self._here(one.identifier), _GUID.sub(lambda it: self._here(it[0]), one.sent)
        match one.call:
            case HcnCall.ENUMERATE:
                return self.hns.enumerate(one.kind, sent)
            case HcnCall.QUERY:
                self.hns.require(one.kind, identifier)
                return self.hns.query(one.kind, identifier, sent)
            case HcnCall.CREATE:
                return self.hns.create(one.kind, sent, self._here(one.network))
            case HcnCall.MODIFY:
                self.hns.modify(one.kind, identifier, sent)
            case HcnCall.DELETE:
                self.hns.delete(one.kind, identifier)
        return ""

    def _here(self, identifier: str) -> str:
        return self.paired.get(identifier.lower(), identifier.lower())


def _unlike(theirs: Any, ours: Any, where: str) -> Iterator[str]:
    """By the names of fields, and the types of what is in them."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        yield from _fields_unlike(theirs, ours, where)
    elif isinstance(theirs, list) and isinstance(ours, list):
        if len(theirs) != len(ours):
            yield f"HNS shows {len(theirs)} of {where}, and the stand-in {len(ours)}"
        for number, (their, our) in enumerate(zip(theirs, ours, strict=False)):
            yield from _unlike(their, our, f"{where}[{number}]")
    elif type(theirs) is not type(ours):
        yield f"HNS shows {where} as {json.dumps(theirs)}, and the stand-in as {json.dumps(ours)}"


def _fields_unlike(theirs: dict[str, Any], ours: dict[str, Any], where: str) -> Iterator[str]:
    for name in sorted(theirs.keys() | ours.keys()):
        path = f"{where}.{name}" if where else name
        if name not in ours:
            yield f"HNS shows {path}, and the stand-in does not"
        elif name not in theirs:
            yield f"the stand-in shows {path}, and HNS does not"
        else:
            yield from _unlike(theirs[name], ours[name], path)


def _id_of(answer: str) -> str:
    return str(json.loads(answer).get("ID", "")).lower() if answer else ""


def text_of(content: bytes) -> str:
    """Windows PowerShell writes what it redirects as UTF-16. ValueError."""
    return content.decode("utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")


def main(arguments: list[str]) -> int:
    """1 where something differs, 2 where there is no record."""
    try:
        (path,) = arguments
        record = read_record(text_of(Path(path).read_bytes()))
    except (OSError, ValueError) as error:
        print(
            f"replay: cannot read a record of HNS: {error}; name one file, as the agent's pod printed it",
            file=sys.stderr,
        )
        return 2
    found = differences(record)
    print(f"{record.head.system}, {record.head.time}: {len(record.calls)} calls, {len(found)} differences")
    print("\n".join(found))
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
