"""docs/operations.md goes by symptom: what a person can see has a row there, and its top links to every section."""

import re

import pytest

from azure_cni import errors
from azure_cni.api import conditions
from azure_cni.quota import messages, nic_messages
from unit.chart.helm import REPOSITORY

PAGE = (REPOSITORY / "docs" / "operations.md").read_text()

GRANT_REASONS = {
    *(
        conditions.NODE_AT_LIMIT,
        messages.QUOTA_EXCEEDED,
        messages.THROTTLED,
        messages.WRITE_BUDGET,
        nic_messages.NIC_UNKNOWN,
        nic_messages.NIC_FOREIGN,
    ),
    *(nic_messages.NIC_CHANGED, messages.ENTRY_REFUSED, messages.VNET_UNCONFIRMED),
}


def causes() -> set[str]:
    """Why a pod may have to wait: grants, Azure, and the node itself. Those of Kubernetes share one row."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.CloudError)]
    node = {errors.DatapathError.reason, errors.LedgerError.reason, errors.AzureCniError.reason}
    return {kind.reason for kind in kinds} | node | GRANT_REASONS


@pytest.mark.parametrize("cause", sorted(causes()))
def test_every_cause_of_a_pod_that_waits_has_a_row(cause: str):
    rows = [line.split(" | ")[0] for line in PAGE.splitlines() if line.startswith("| `NoAddress` with ")]
    assert any(f"`{cause}`" in row for row in rows)


def test_every_section_is_linked_from_the_top():
    top = PAGE.partition("\n## ")[0]
    linked = set(re.findall(r"\]\(#([\w-]+)\)", top))
    sections = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    assert {re.sub(r"[^\w\- ]", "", section.lower()).replace(" ", "-") for section in sections} == linked
