"""What every reader of foreign bytes is held to: whatever comes is read or refused in words; nothing else is raised.

A boundary is a reader with good examples of what it reads. `walk` gives it odd versions of them, from a seed. The table
of all boundaries is in docs/architecture.md; `tests/property/test_boundaries.py` holds it to the code.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from azure_cni.errors import AzureCniError
from property.mutations import mutated, mutated_bytes

LONGEST_TEXT: Final = 4000
"""Characters of an error: of many faults in one file each is named."""
TOKENS: Final = (
    "", '"', "'", "[", "]", "{", "}", "[[", "=", ":", ": ", "- ", "\n", "\n\n", "---\n", "\t", "#", "&a ", "*a",
    "<<: ", "!!python/x ", "null", "true", "-1", "0", "1e999", "nan", "inf", "9" * 5000, "x" * 5000, "[" * 3000,
    "{a: " * 500, "\u0000", "\ud7ff\u00b2\u0663", "\u2028", "\u001b[2J", "10.0.0.300", "10.0.0.0/33", "../..",
    "/dev/zero", "0x10", "1_000", "2026-13-40",
)  # fmt: skip
"""What a change of a text puts where something else stood."""


@dataclass(frozen=True, slots=True)
class Boundary:
    """`read` takes bytes and raises one of `refusals`, in words, for what it cannot use. `goods`: what it can."""

    goods: Sequence[bytes]
    read: Callable[[bytes, Random], object]
    refusals: tuple[type[Exception], ...] = (AzureCniError,)
    is_json: bool = True
    """Whether a document is changed; else a text."""
    on_the_wire: bool = True
    """Whether a document may come as no JSON at all, too: not what the API server has read, or a process was given."""


def odd(boundary: Boundary, random: Random) -> bytes:
    """One of the examples, changed."""
    good = random.choice(boundary.goods)
    if not boundary.is_json:
        return changed_text(good, random)
    content = json.dumps(mutated(json.loads(good), random)).encode() if random.random() < 0.8 else good
    return mutated_bytes(content, random) if boundary.on_the_wire and random.random() < 0.3 else content


def changed_text(content: bytes, random: Random) -> bytes:
    """One to three times a part of it is cut, doubled, moved, or replaced by a token, or by any byte."""
    for _ in range(random.randint(1, 3)):
        start = random.randrange(len(content) + 1)
        end = min(len(content), start + random.randrange(1 + random.choice((1, 8, 80))))
        before, part, after = content[:start], content[start:end], content[end:]
        instead = random.choice(
            (
                b"",
                part * 2,
                bytes([random.randrange(256)]),
                random.choice(TOKENS).encode(),
                random.choice(TOKENS).encode(),
            )
        )
        content = before + instead + after
    return content


def walk(name: str, boundary: Boundary, count: int, *, seed: int) -> Counter[str]:
    """That number of odd inputs; how many were read, and how many refused. AssertionError for what should not be."""
    ends: Counter[str] = Counter()
    for number in range(count):
        random = Random(f"{seed}/{name}/{number}")
        content = odd(boundary, random)
        try:
            boundary.read(content, random)
        except boundary.refusals as error:
            words = str(error)
            if not words or len(words) > LONGEST_TEXT or not words.isprintable():
                raise AssertionError(f"{name} {number} of seed {seed} says {words[:300]!r}") from error
            ends["refused"] += 1
        except Exception as error:
            raise AssertionError(
                f"{name} {number} of seed {seed}: {type(error).__name__}: {error}: {content[:300]!r}"
            ) from error
        else:
            ends["read"] += 1
    return ends
