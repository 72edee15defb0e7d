"""Which pools are paused (`spec.paused`), since when, by whom and why.

When is the API server's to say: `metadata.managedFields` has the time at which each writer last changed a field of its
own. Who and why no object has, so `azure-cni pause` leaves both in an annotation, and writes under a name that writes
nothing else: its time is that of the pause. The annotation counts only while that name owns `spec.paused`. Whoever
sets the field with another tool takes it over, and what an earlier pause left behind is not mistaken for theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from azure_cni.api.node_ip_pool import PAUSE, PAUSE_WRITER
from azure_cni.api.reading import mapping, mappings, metadata_of, spec_of, text
from azure_cni.model.text import NOT_JSON, legible


class NodePause(msgspec.Struct, frozen=True, rename="camel"):
    """One pool that is paused. `by` is the user as the API server knew them, "" where nobody wrote that down.

    `writer` is the program that set the field; `since` is RFC 3339, and exact for `azure-cni pause` only: other
    writers may have changed another field of theirs after the pause.
    """

    node: str
    since: str = ""
    by: str = ""
    reason: str = ""
    writer: str = ""

    @property
    def in_words(self) -> str:
        """For a sentence: paused since 2026-11-28T06:00:00Z by jane: work on the NIC."""
        exact = self.writer == PAUSE_WRITER
        since = f" since {self.since}{'' if exact else ' or before'}" if self.since else ""
        by = f" by {self.by}" if self.by else f" with {self.writer}" if self.writer and not exact else ""
        return f"paused{since}{by}{': ' if self.reason else ''}{self.reason}"


class _Note(msgspec.Struct, frozen=True):
    """The annotation."""

    by: str = ""
    reason: str = ""


def parse_pauses(bodies: Iterable[Mapping[str, Any]]) -> dict[str, NodePause]:
    """By node: of NodeIPPools as they were read, those that are paused."""
    found = map(parse_pause, bodies)
    return {pause.node: pause for pause in found if pause is not None}


def parse_pause(body: Mapping[str, Any]) -> NodePause | None:
    """Of a NodeIPPool as it was read; None while it is not paused."""
    if spec_of(body).get("paused") is not True:
        return None
    meta = metadata_of(body)
    owners = [one for one in mappings(meta.get("managedFields")) if _owns_the_pause(one)]
    ours = [one for one in owners if one.get("manager") == PAUSE_WRITER]
    first: Mapping[str, Any] = min(ours or owners, key=lambda one: text(one.get("time")), default={})
    note = _note_of(mapping(meta.get("annotations")).get(PAUSE)) if ours else _Note()
    return NodePause(
        node=text(meta.get("name")),
        since=text(first.get("time")),
        by=legible(note.by),
        reason=legible(note.reason),
        writer=legible(text(first.get("manager"))),
    )


def pause_patch(*, by: str, reason: str) -> dict[str, Any]:
    """The merge patch that pauses a pool, and writes down who did it and why."""
    note = msgspec.json.encode(_Note(by=legible(by), reason=legible(reason))).decode()
    return {"metadata": {"annotations": {PAUSE: note}}, "spec": {"paused": True}}


def resume_patch() -> dict[str, Any]:
    """The merge patch that ends a pause, whoever began it."""
    return {"metadata": {"annotations": {PAUSE: None}}, "spec": {"paused": None}}


def _owns_the_pause(entry: Mapping[str, Any]) -> bool:
    return "f:paused" in mapping(mapping(entry.get("fieldsV1")).get("f:spec"))


def _note_of(written: object) -> _Note:
    """What somebody else put there counts as nothing."""
    try:
        return msgspec.json.decode(text(written).encode(), type=_Note)
    except NOT_JSON:
        return _Note()
