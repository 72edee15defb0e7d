"""What a process logs: one line a decision, constant messages, facts as fields.

Each line begins with the time in UTC, as Kubernetes and Azure write theirs: 2026-11-28T06:19:26.454Z. In systemd's
journal lines of text have a priority, too: `journalctl -p warning` finds what somebody should look at.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, TextIO

from pythonjsonlogger.json import JsonFormatter

from azure_cni.model.text import legible

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
QUIET = {"aiohttp.access": logging.WARNING, "kopf": logging.CRITICAL, "azure": logging.ERROR, "msal": logging.ERROR}
"""Libraries that log each request or object. Our own messages cover what they warn of, and say what to do."""

PRIORITIES: Final = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}
"""Of syslog(3), by the levels that have one."""


class _InUTC(logging.Formatter):
    """RFC 3339 with milliseconds, whatever the time zone of the node."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802  # logging's
        """When it was logged."""
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonLines(_InUTC, JsonFormatter):
    """For machines: one object a line, its facts as fields."""


class TextFormatter(_InUTC):
    """For people at a terminal: `time level logger message key=value ...`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, or more with a traceback, whose lines are indented: no value can pass for a line of its own."""
        head, *rest = super().format(record).split("\n")
        return "\n  ".join([head, *map(_on_one_line, rest)])

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's
        """Without the traceback."""
        facts = [f"{key}={value}" for key, value in vars(record).items() if key not in _STANDARD]
        return _on_one_line(" ".join([super().formatMessage(record), *facts]))


class JournalFormatter(TextFormatter):
    """The same for systemd's journal, which takes a line's priority off its beginning (sd-daemon(3))."""

    def format(self, record: logging.LogRecord) -> str:
        """Each line of a traceback has the priority as well."""
        priority = next((number for level, number in PRIORITIES.items() if record.levelno >= level), 7)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).split("\n"))


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether systemd connected this very stream to its journal: a child may have inherited the variable alone."""
    try:
        there = os.fstat(stream.fileno())
    except (OSError, ValueError):  # it is no file
        return False
    return environ.get("JOURNAL_STREAM") == f"{there.st_dev}:{there.st_ino}"


def _on_one_line(text: str) -> str:
    return legible(text, longest=len(text))


def set_up_logs(*, level: str, style: str) -> None:
    """Send all logs to standard error. `style` is `json` or `text`, `level` a name of the logging module."""
    handler = logging.StreamHandler(sys.stderr)
    form = "%(asctime)s %(levelname)s %(name)s %(message)s"
    text = JournalFormatter if is_journal(sys.stderr, os.environ) else TextFormatter
    handler.setFormatter(
        text(form)
        if style == "text"
        else JsonLines(form, rename_fields={"asctime": "time", "levelname": "level", "name": "logger"})
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, least in QUIET.items():
        logging.getLogger(name).setLevel(max(least, root.level))
