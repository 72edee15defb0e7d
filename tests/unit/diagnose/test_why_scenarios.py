"""Every cause of `why` is brought about by a scenario, or says why none can: a new one cannot be forgotten."""

import ast
import inspect

import pytest

from azure_cni.api import conditions
from azure_cni.api.conditions import PoolKind, QuotaKind
from azure_cni.diagnose.causes import CAUSES
from scenarios.harness.why import NOT_CAUSED, NOT_OF_A_POD
from scenarios.test_37_why_it_waits import CASES as WAITING
from scenarios.test_38_why_it_is_not_well import CASES as UNWELL
from scenarios.test_38_why_it_is_not_well import LOST, TWICE, WELL
from scenarios.test_39_why_not_attached import CASES as UNATTACHED
from unit.chart.test_operations import causes
from unit.diagnose.test_causes import of_the_page

CAUSED = {case.cause for case in (*WAITING, *UNWELL, *UNATTACHED, LOST, TWICE)} | set(WELL)


def reasons_of_conditions() -> set[str]:
    """Each reason that api/conditions.py names: its constants that hold text."""
    constants = {name for name, value in vars(conditions).items() if name.isupper() and isinstance(value, str)}
    named = {node.target.id for node in ast.parse(inspect.getsource(conditions)).body
             if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)}  # fmt: skip
    return {str(getattr(conditions, name)) for name in constants & named}


@pytest.mark.parametrize("cause", sorted({*CAUSES, *causes(), *of_the_page()}))
def test_every_cause_has_a_scenario_or_a_reason_against_one(cause: str):
    assert (cause in CAUSED) != (cause in NOT_CAUSED)


@pytest.mark.parametrize("reason", sorted({*reasons_of_conditions(), *PoolKind, *QuotaKind}))
def test_every_reason_and_kind_of_a_condition_is_a_cause_or_no_pods(reason: str):
    assert (reason in CAUSES) != (reason in NOT_OF_A_POD)


def test_the_lists_name_nothing_that_is_no_cause():
    assert CAUSES.keys() >= CAUSED | NOT_CAUSED.keys()
    assert all({**NOT_CAUSED, **NOT_OF_A_POD}.values())


@pytest.mark.parametrize("case", [*WAITING, *UNWELL, *UNATTACHED], ids=lambda case: case.cause)
def test_a_case_has_the_words_of_its_cause(case):
    known = CAUSES[case.cause]
    assert case.actor == known.actor
