"""Plugin and agent of two releases, by what the one of each release sends (docs/releases.md).

The other halves: `operator/cni-plugin/wire_test.go` gives today's plugin the answers of each release, and
`tests/unit/cni/test_wire.py` a request of a newer one to today's agent.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from azure_cni.cni.wire import Add, Check, Collect, Delete, Status, decode
from azure_cni.host.run_directory import Released
from unit.releases.exchanges import HERE, RELEASES

KINDS = {"add": Add, "del": Delete, "check": Check, "gc": Collect, "status": Status}
TODAY = HERE.parents[2] / "operator" / "cni-plugin" / "testdata"
REQUESTS = sorted(HERE.glob("*/requests/*.json"))
REPLIES = sorted(HERE.glob("*/replies/*.json"))


def name_of(path: Path) -> str:
    return f"{path.parts[-3]}-{path.stem}"


def has_all_of(newer: Any, older: Any) -> bool:
    """Fields may have been added; what an older reader knows is as it was."""
    if isinstance(older, dict):
        return isinstance(newer, dict) and all(key in newer and has_all_of(newer[key], older[key]) for key in older)
    return bool(newer == older)


@pytest.mark.parametrize("release", RELEASES)
def test_each_verb_is_recorded(release: str) -> None:
    assert {path.stem.split("-")[0] for path in (HERE / release / "requests").iterdir()} == KINDS.keys()


@pytest.mark.parametrize("request_file", REQUESTS, ids=name_of)
def test_the_agent_understands_a_plugin_of_an_earlier_release_as_it_does_todays(request_file: Path) -> None:
    verb = request_file.stem.split("-")[0]
    request = decode(verb, request_file.read_bytes())
    assert isinstance(request, KINDS[verb])
    assert request == decode(verb, (TODAY / "requests" / request_file.name).read_bytes())


@pytest.mark.parametrize("request_file", REQUESTS, ids=name_of)
def test_an_agent_of_an_earlier_release_finds_what_it_knows_in_the_plugins_requests(request_file: Path) -> None:
    sent = json.loads((TODAY / "requests" / request_file.name).read_text())
    assert has_all_of(sent, json.loads(request_file.read_text()))


@pytest.mark.parametrize("reply_file", REPLIES, ids=name_of)
def test_a_plugin_of_an_earlier_release_finds_what_it_knows_in_the_agents_answers(reply_file: Path) -> None:
    answered = json.loads((TODAY / "replies" / reply_file.name).read_text())
    assert has_all_of(answered, json.loads(reply_file.read_text()))


@pytest.mark.parametrize("release", RELEASES)
def test_dels_that_a_plugin_of_an_earlier_release_recorded_are_read(release: str, tmp_path: Path) -> None:
    recorded = sorted((HERE / release / "requests").glob("del-*.json"))
    for path in recorded:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    released = Released(tmp_path)
    found = released.read(released.names())
    assert found.bad == ()
    assert [one.sandbox for one in found.pending] == [_deleted(path) for path in recorded]


def _deleted(path: Path) -> object:
    request = decode("del", path.read_bytes())
    assert isinstance(request, Delete)
    return request.sandbox
