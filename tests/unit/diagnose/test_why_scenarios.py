"""Every cause of `why` is brought about by a scenario, or says why none can: a new one cannot be forgotten.

`test_why_is_complete` has the reasons that are no cause.
"""

import pytest

from azure_cni.diagnose.causes import CAUSES
from scenarios.harness.why import NOT_CAUSED
from scenarios.test_37_why_it_waits import CASES as WAITING
from scenarios.test_38_why_it_is_not_well import CASES as UNWELL
from scenarios.test_38_why_it_is_not_well import LOST, TWICE, WELL
from scenarios.test_39_why_not_attached import CASES as UNATTACHED
from unit.chart.test_operations import causes
from unit.diagnose.test_causes import of_the_page

CAUSED = {case.cause for case in (*WAITING, *UNWELL, *UNATTACHED, LOST, TWICE)} | set(WELL)


@pytest.mark.parametrize("cause", sorted({*CAUSES, *causes(), *of_the_page()}))
def test_every_cause_has_a_scenario_or_a_reason_against_one(cause: str):
    assert (cause in CAUSED) != (cause in NOT_CAUSED)


def test_the_lists_name_nothing_that_is_no_cause():
    assert CAUSES.keys() >= CAUSED | NOT_CAUSED.keys()


@pytest.mark.parametrize("case", [*WAITING, *UNWELL, *UNATTACHED], ids=lambda case: case.cause)
def test_a_case_has_the_words_of_its_cause(case):
    known = CAUSES[case.cause]
    assert case.actor == known.actor
