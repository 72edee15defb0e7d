"""What a run says in the end: JSON with every request, and Markdown to be put into an issue. Neither says whose it is.

Subscription, tenant and the group's name are replaced by words, every other GUID by a number of its own, and mail
addresses, which Azure puts into some refusals. What is left is Azure's: codes, words, addresses of the run's own VNet.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from onazure.questions import AS_TAKEN, Question

GUID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
MAIL: Final = re.compile(r"[\w.+#-]+@[\w-]+(?:\.[\w-]+)+")


@dataclass(frozen=True, slots=True)
class Result:
    """A question and its answer; `answer` is "" where there is none, and `said` then says why."""

    question: Question
    answer: str
    said: str
    took_s: float = 0.0

    @property
    def meaning(self) -> str:
        """What has to be done; "" where there is no answer."""
        return self.question.meaning(self.answer) if self.answer else ""

    @property
    def shown(self) -> str:
        """In one word or two."""
        return self.answer or "no answer"


def redactor(words: Mapping[str, str]) -> Callable[[str], str]:
    """Replaces each key of `words`, whatever its case, then GUIDs and mail addresses."""
    numbers: dict[str, str] = {}

    def guid(found: re.Match[str]) -> str:
        return numbers.setdefault(found[0].lower(), f"GUID-{len(numbers) + 1}")

    def redact(text: str) -> str:
        for secret, word in words.items():
            text = re.sub(re.escape(secret), word, text, flags=re.IGNORECASE) if secret else text
        return MAIL.sub("MAIL", GUID.sub(guid, text))

    return redact


def as_json(
    facts: Mapping[str, str], results: Sequence[Result], calls: Sequence[Any], redact: Callable[[str], str]
) -> str:
    """Everything, for a program."""
    answers = [
        {
            "key": one.question.key,
            "answer": one.answer or None,
            "as_taken": one.answer == AS_TAKEN if one.answer else None,
            "said": one.said,
            "meaning": one.meaning,
            "took_s": round(one.took_s, 1),
        }
        for one in results
    ]
    document = {"run": dict(facts), "answers": answers, "requests": list(calls)}
    return redact(json.dumps(document, indent=1)) + "\n"


def as_markdown(facts: Mapping[str, str], results: Sequence[Result], redact: Callable[[str], str]) -> str:
    """For a person, and for an issue."""
    lines = ["# azure-cni on Azure", "", ", ".join(f"{name} {value}" for name, value in facts.items()), ""]
    lines += ["| question | answer | Azure's words and numbers |", "|---|---|---|"]
    lines += [f"| {one.question.asks} (`{one.question.key}`) | {one.shown} | {_cell(one.said)} |" for one in results]
    to_do = [one for one in results if one.answer and one.answer != AS_TAKEN]
    lines += ["", "## What it means", ""]
    lines += [f"- `{one.question.key}`, {one.answer}: {one.meaning}" for one in to_do] or [
        "All is as azure-cni takes it."
    ]
    return redact("\n".join(lines)) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
