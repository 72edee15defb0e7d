"""Lists that are taken apart while they arrive."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies

from azure_cni.kube.streamed_list import MAX_ENVELOPE_BYTES, MAX_ITEM_BYTES, StreamedList

TEXTS = strategies.text(alphabet=strategies.sampled_from('ab"\\\\{}[],:\u00e4 \n'), max_size=12)
VALUES = strategies.recursive(
    TEXTS | strategies.integers() | strategies.booleans() | strategies.none(),
    lambda inner: strategies.lists(inner, max_size=3) | strategies.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = strategies.dictionaries(TEXTS, VALUES, max_size=4)


def taken_apart(answer: bytes, step: int) -> tuple[list[Any], Any]:
    streamed = StreamedList()
    items = [
        json.loads(item)
        for start in range(0, len(answer), step)
        for item in streamed.feed(answer[start : start + step])
    ]
    return items, json.loads(streamed.envelope)


@given(
    items=strategies.lists(OBJECTS, max_size=5),
    metadata=OBJECTS,
    step=strategies.integers(1, 40),
    indent=strategies.sampled_from([None, 1]),
    order=strategies.permutations(["kind", "metadata", "items"]),
)
def test_every_item_comes_out_whole_wherever_the_answer_is_cut(
    items: list[Any], metadata: Any, step: int, indent: int | None, order: tuple[str, ...]
) -> None:
    around = {"kind": "PodList", "metadata": metadata}
    whole = {**around, "items": items}
    answer = json.dumps({key: whole[key] for key in order}, indent=indent, ensure_ascii=False).encode()
    assert taken_apart(answer, step) == (items, {**around, "items": []})


@pytest.mark.parametrize("answer", [b"null", b"[]", b'{"kind":"Status","details":{"causes":[{"a":[1]}]}}', b"{}"])
def test_what_is_no_list_is_left_as_it_is(answer: bytes) -> None:
    assert taken_apart(answer, 3) == ([], json.loads(answer))


@pytest.mark.parametrize(
    ("before", "more", "most"),
    [(b'{"items":[{"a":"', b"x" * 4096, MAX_ITEM_BYTES), (b'{"kind":"', b"x" * 4096, MAX_ENVELOPE_BYTES)],
)
def test_what_does_not_end_is_refused(before: bytes, more: bytes, most: int) -> None:
    streamed = StreamedList()
    list(streamed.feed(before))
    for _ in range(most // len(more) - 1):
        list(streamed.feed(more))
    rest = more * 2
    with pytest.raises(ValueError, match=f"has more than {most} bytes"):
        list(streamed.feed(rest))
