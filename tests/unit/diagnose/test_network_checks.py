"""How `test` judges answers: whatever comes back, nothing counts as good that does not show it."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from azure_cni.diagnose.network_checks import (
    CONNECTED,
    UNCONNECTED,
    Expectation,
    LabPod,
    NetworkResult,
    Probe,
    ProbeOutcome,
    judge,
    parse_outcomes,
)

OWN, NODE = "10.240.0.36", "10.240.0.4"
CALLER = LabPod("caller", "caller", "vm1", OWN)

statuses = st.one_of(st.none(), st.sampled_from([0, 6, 7, 28, 35, 52, 56, 60, 127]), st.integers(0, 255))
answers = st.one_of(st.sampled_from([f"{OWN}:4000 200", f"{NODE}:4000 200", " 000", ""]), st.text(max_size=80))


@given(st.sampled_from(Expectation), statuses, answers)
def test_only_what_was_shown_is_good(expects: Expectation, status: int | None, said: str):
    probe = Probe("Code", CALLER, "http://10.240.0.68:8080/clientip", expects, "the far end")
    found = judge(probe, ProbeOutcome(status, said))
    assert found.result is not NetworkResult.SKIPPED
    if found.result is not NetworkResult.GOOD:
        assert (found.do, found.page) != ("", "")
        return
    allowed = {Expectation.NOBODY: UNCONNECTED, Expectation.NAME: CONNECTED | UNCONNECTED}
    assert status in allowed.get(expects, CONNECTED)
    if expects in {Expectation.OWN_ADDRESS, Expectation.OTHER_ADDRESS}:
        assert status == 0
    if expects is Expectation.OWN_ADDRESS:
        assert OWN in said


@example("9" * 5000 + " 0 x", 1)
@given(st.text(max_size=200), st.integers(0, 5))
def test_there_is_an_outcome_for_each_request_whatever_is_printed(printed: str, count: int):
    assert len(parse_outcomes(printed, count)) == count
