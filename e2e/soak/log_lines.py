"""What agents and controllers log, line by line: how much of each level, errors that nobody expects, and tokens.

A line is the kubelet's: time, stream, F for a whole line or P for a part of one, and what the process wrote, which is a
JSON object. Anything else that it writes (Python's last words, for example) is an error that nobody expects.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass, field

TOKEN = re.compile(r"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*|Bearer\s+[\w.~+/-]{20,}")
"""A JSON web token (three parts in base64, the first of which begins with a brace), or a header that has any token."""
ERRORS = frozenset({"ERROR", "CRITICAL"})
EXPECTED = frozenset({"recorded DEL not carried out", "more recorded DELs not carried out"})
"""Messages of errors that say what a fault has brought about: a record that cannot be carried out yet."""
MOST = 20
LONGEST = 600
"""A token is cut out of what is kept, so that the report has none."""


@dataclass(slots=True)
class LogLines:
    """What was logged in a run."""

    levels: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    """Messages of warnings, which tell of faults."""
    unknown: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    _parts: dict[str, str] = field(default_factory=dict)

    def read(self, where: str, line: str) -> None:
        """One line of the file `where`."""
        _, _, rest = line.partition(" ")
        _, _, rest = rest.partition(" ")
        flag, _, text = rest.partition(" ")
        if flag == "P":
            self._parts[where] = self._parts.get(where, "") + text
            return
        self._judge(where, self._parts.pop(where, "") + text)

    def _judge(self, where: str, text: str) -> None:
        shown = f"{where}: {TOKEN.sub('(a token)', text)[:LONGEST]}"
        if TOKEN.search(text):
            _keep(self.tokens, shown)
        try:
            said = json.loads(text)
            level, message = str(said["level"]), str(said["message"])
        except (ValueError, KeyError, TypeError):
            self.levels["unreadable"] += 1
            _keep(self.unknown, shown)
            return
        self.levels[level] += 1
        if level == "WARNING":
            self.warnings[message] += 1
        if level in ERRORS and message not in EXPECTED:
            _keep(self.unknown, shown)


def _keep(lines: list[str], line: str) -> None:
    if len(lines) < MOST:
        lines.append(line)
