"""Log lines: a time that needs no guess, facts as fields, and lines of a length that people read."""

import io
import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from azure_cni.entrypoints import logs
from azure_cni.model.identity import short_id

SIX_TWENTY = 1795846766.454  # 2026-11-28T06:19:26.454Z
NIC = "/subscriptions/S/resourceGroups/G/providers/Microsoft.Network/networkInterfaces/vm1"

Say = Callable[[str, str], str]


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Iterator[Say]:
    """Log one line in that style, and return it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()

    def said(style: str, message: str) -> str:
        logs.set_up_logs(level="info", style=style)
        (handler,) = root.handlers
        assert isinstance(handler, logging.StreamHandler)
        handler.setStream(stream)
        record = logging.makeLogRecord({
            "name": "azure_cni.test", "levelno": 30, "levelname": "WARNING", "msg": message, "created": SIX_TWENTY,
            "nic": "vm1", "add": 2,
        })  # fmt: skip
        root.handle(record)
        return stream.getvalue()

    monkeypatch.setenv("TZ", "Asia/Kolkata")
    yield said
    root.handlers[:], root.level = handlers, level


def test_json_has_the_time_in_utc_and_its_facts_as_fields(say: Say):
    assert json.loads(say("json", "nic write refused")) == {
        "time": "2026-11-28T06:19:26.454Z",
        "level": "WARNING",
        "logger": "azure_cni.test",
        "message": "nic write refused",
        "nic": "vm1",
        "add": 2,
    }


def test_text_has_the_same_for_people(say: Say):
    assert say("text", "nic write refused") == (
        "2026-11-28T06:19:26.454Z WARNING azure_cni.test nic write refused nic=vm1 add=2\n"
    )


def test_a_resource_is_named_by_group_and_name():
    assert short_id(NIC) == "G/vm1"
    assert short_id("something else") == "something else"


FORGED = "2026-11-29T03:00:00.000Z INFO azure_cni address assigned pod=shop/forged"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\x0b", "\x85", "\u2028"])
@pytest.mark.parametrize("where", ["message", "fact", "traceback"])
def test_no_value_passes_for_a_line_of_its_own_in_text(end: str, where: str):
    words = f"x{end}{FORGED}{end}\x1b[2J\u202e"
    record = logging.makeLogRecord({"name": "azure_cni.test", "levelname": "INFO", "msg": "cni request refused"})
    if where == "message":
        record.msg = words
    elif where == "fact":
        record.error = words
    else:
        error = ValueError(words)
        record.exc_info = (ValueError, error, None)
    text = logs.TextFormatter("%(asctime)s %(levelname)s %(name)s %(message)s").format(record)
    assert FORGED in text
    assert [line for line in text.splitlines() if line.startswith(FORGED[:4])] == text.splitlines()[:1]
    assert all(line.isprintable() for line in text.splitlines())


def fail() -> None:
    raise ValueError("no\n<0>panic")


def test_in_systemds_journal_a_line_has_its_priority_and_a_value_forges_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with (tmp_path / "journal").open("w") as journal:
        there = os.fstat(journal.fileno())
        monkeypatch.setattr("sys.stderr", journal)
        for stream in (f"{there.st_dev}:{there.st_ino}", f"{there.st_dev}:1"):
            monkeypatch.setenv("JOURNAL_STREAM", stream)
            logs.set_up_logs(level="debug", style="text")
            for number in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
                logging.getLogger("azure_cni.test").log(number, "said", extra={"why": "no\n<0>panic"})
            try:
                fail()
            except ValueError:
                logging.getLogger("azure_cni.test").exception("failed")
    root.handlers[:], root.level = handlers, level
    lines = (tmp_path / "journal").read_text().splitlines()
    marked, plain = lines[: len(lines) // 2], lines[len(lines) // 2 :]
    assert [line[:3] for line in marked[:5]] == ["<7>", "<6>", "<4>", "<3>", "<2>"]
    assert {line[:3] for line in marked[5:]} == {"<3>"}
    assert [line[3:].split(" ", 1)[1] for line in marked] == [line.split(" ", 1)[1] for line in plain]
    assert not any(line.startswith("<") for line in plain)


def test_a_stream_that_is_no_file_is_no_journal():
    assert not logs.is_journal(io.StringIO(), {"JOURNAL_STREAM": "1:1"})
