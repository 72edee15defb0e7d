"""The causes of the command line are those of docs/operations.md, and of the errors and reasons of the code."""

import re

import pytest

from azure_cni import errors
from azure_cni.diagnose.causes import CAUSES, UNKNOWN, cause_of, in_words
from unit.chart.helm import REPOSITORY
from unit.chart.test_operations import PAGE, causes

ROWS = [line.split(" | ")[0] for line in PAGE.splitlines() if line.startswith("| `NoAddress` with ")]
SECTIONS = {
    re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in re.findall(r"^##+ (.+)$", PAGE, re.MULTILINE)
}


def of_the_page() -> set[str]:
    """Each reason of the rows; the last of them is a family."""
    named = {word for row in ROWS for word in re.findall(r"`(\w+)`", row)} - {"NoAddress"}
    kube = {
        kind.reason for kind in vars(errors).values() if isinstance(kind, type) and kind.__name__.startswith("Kube")
    }
    return named | kube


@pytest.mark.parametrize("reason", sorted(causes() | of_the_page()))
def test_every_cause_of_the_code_and_of_the_page_is_explained(reason: str):
    cause = cause_of(reason)
    assert cause is not UNKNOWN
    assert cause.meaning
    assert cause.do


@pytest.mark.parametrize("reason", sorted(CAUSES))
def test_every_cause_leads_to_a_section_of_the_page(reason: str):
    path, _, section = CAUSES[reason].page.partition("#")
    assert (REPOSITORY / path).exists()
    assert section in SECTIONS


def test_a_reason_of_a_newer_agent_is_passed_on():
    assert cause_of("SomethingNew") is UNKNOWN


def test_commands_have_the_names_of_the_case_and_keep_what_is_not_known():
    command = "kubectl describe nodeippool NODE; kubectl edit vnetquota QUOTA"
    assert in_words(command, node="vm1", quota="") == "kubectl describe nodeippool vm1; kubectl edit vnetquota QUOTA"


def test_no_upgrade_that_is_to_be_typed_leaves_new_values_out():
    """The chart of a newer release refuses the values of an older one alone, as docs/install.md says."""
    pages = [page for page in sorted((REPOSITORY / "docs").rglob("*.md")) if page.name != "install.md"]
    typed = [*(cause.command for cause in CAUSES.values()), *(page.read_text() for page in pages)]
    assert any("helm upgrade azure-cni" in text for text in typed)
    assert [text[:200] for text in typed if "--reuse-values" in text] == []


def test_what_a_command_deletes_for_good_is_said_beside_it():
    """A pool that its agent makes again has none of the settings that people gave it."""
    deleting = [cause for cause in CAUSES.values() if cause.command.startswith("kubectl delete nodeippool")]
    assert deleting
    assert [cause.do for cause in deleting if "note first what you have set in its spec" not in cause.do] == []
