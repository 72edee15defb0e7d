"""Since when a pool is paused, by whom and why: the API server's record decides, and the note only where it fits."""

from __future__ import annotations

from typing import Any

import pytest

from azure_cni.api.node_ip_pool import PAUSE
from azure_cni.diagnose.pauses import NodePause, parse_pause, pause_patch

LATER = "2026-11-28T07:00:00Z"
THEN = "2026-11-28T06:00:00Z"
NOTE = pause_patch(by="jane", reason="work")["metadata"]["annotations"][PAUSE]


def body(*owners: tuple[str, str, str], paused: object = True, note: str = "") -> dict[str, Any]:
    """`owners`: a writer, when it last wrote, and a field of the spec that it owns."""
    fields = [{"manager": name, "time": at, "fieldsV1": {"f:spec": {f"f:{field}": {}}}} for name, at, field in owners]
    meta = {"name": "vm1", "managedFields": fields, "annotations": {PAUSE: note} if note else {}}
    return {"metadata": meta, "spec": {"paused": paused}}


@pytest.mark.parametrize("paused", [False, None, "true", 1])
def test_a_pool_that_is_not_paused_has_no_pause_whatever_was_noted(paused: object):
    assert parse_pause(body(("azure-cni-pause", THEN, "paused"), paused=paused, note=NOTE)) is None


def test_who_paused_it_with_the_command_is_named_with_the_reason():
    found = parse_pause(body(("kubectl-edit", LATER, "minFree"), ("azure-cni-pause", THEN, "paused"), note=NOTE))
    assert found == NodePause("vm1", THEN, "jane", "work", "azure-cni-pause")
    assert found.in_words == f"paused since {THEN} by jane: work"


def test_an_older_note_is_not_mistaken_for_the_words_of_who_paused_it_since():
    found = parse_pause(body(("kubectl-patch", LATER, "paused"), ("azure-cni-pause", THEN, "minFree"), note=NOTE))
    assert found == NodePause("vm1", LATER, "", "", "kubectl-patch")
    assert found.in_words == f"paused since {LATER} or before with kubectl-patch"


def test_of_several_writers_the_first_began_it():
    found = parse_pause(body(("flux", LATER, "paused"), ("kubectl-patch", THEN, "paused")))
    assert found is not None
    assert (found.writer, found.since) == ("kubectl-patch", THEN)


@pytest.mark.parametrize("note", ["{", "[]", '"jane"', '{"by": 7}', "\ud800", '{"by":' + "[" * 5000])
def test_a_note_that_is_none_counts_as_nothing(note: str):
    found = parse_pause(body(("azure-cni-pause", THEN, "paused"), note=note))
    assert found == NodePause("vm1", THEN, writer="azure-cni-pause")


@pytest.mark.parametrize("managed", [None, 7, [7, {}, {"fieldsV1": 7}, {"fieldsV1": {"f:spec": None}}]])
def test_without_a_record_it_is_a_pause_of_unknown_age(managed: object):
    found = parse_pause({"metadata": {"name": "vm1", "managedFields": managed}, "spec": {"paused": True}})
    assert found is not None
    assert found.in_words == "paused"


def test_words_of_others_are_bounded_and_do_nothing_to_a_terminal():
    note = pause_patch(by="a\x1b[2J", reason="x" * 9000)["metadata"]["annotations"][PAUSE]
    found = parse_pause(body(("azure-cni-pause", THEN, "paused"), note=note))
    assert found is not None
    assert found.in_words.isprintable()
    assert len(note) < 1000
