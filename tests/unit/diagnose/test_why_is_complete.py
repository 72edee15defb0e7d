"""Every cause of `why` has a node that gets into it, or says why none does: a new one cannot be forgotten."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping

import pytest

from azure_cni.api import conditions
from azure_cni.api.conditions import PoolKind, QuotaKind
from azure_cni.diagnose.causes import CAUSES
from unit.chart.test_operations import causes
from unit.diagnose.test_causes import of_the_page
from unit.diagnose.test_why_of_nodes import SAID, TROUBLES

BROUGHT_ABOUT = (
    {trouble.cause for trouble in TROUBLES} | SAID.keys() | {"AwaitingGrant", "KubernetesDenied", "PoolGrowing"}
)

BY_DOCUMENTS = "what other objects say, and no node: test_pod_diagnosis"
BY_EVENTS = "what the runtime says where no agent could: test_pod_events"
OF_ATTACHMENTS = "what becomes of annotations: test_pod_diagnosis, and node/test_pod_reports brings each about"
BASE = "the base of the kinds of failures: nothing is of that kind alone"
NO_NODE: Mapping[str, str] = {
    **dict.fromkeys(("AddressTwice", "AddressesLost", "HostConflict", "IdleRecalled", "NoPool"), BY_DOCUMENTS),
    **dict.fromkeys(
        ("NoFreeAddresses", "Unschedulable", "Starting", "HostNetwork", "Ended", "Addressed"), BY_DOCUMENTS
    ),
    **dict.fromkeys(("AgentAway", "ConflistEdited", "NodeNotReady", "NotOurs", "DatapathFailed"), BY_EVENTS),
    **dict.fromkeys((cause for cause in CAUSES if cause.startswith("Attachment")), OF_ATTACHMENTS),
    "AddressesTaken": "a race of two pods for one address, which nothing holds open",
    "AgentStarting": "an agent that cannot read who it is says why after its first try",
    "AzureFailed": BASE,
    "InternalError": "a fault of azure-cni: one that were known would be mended",
    "KubernetesConflict": "a race for an object, which is run again at once",
    "KubernetesFailed": BASE,
    "KubernetesInvalid": "as KubernetesDenied, with another answer of the API server",
    "KubernetesNotFound": "as KubernetesDenied, with another answer of the API server",
    "KubernetesUnreachable": "without the API server nobody can be asked why",
    "NicMissing": "a node with a pool in a pod subnet: node/test_pod_subnet",
    "NotAttested": "the controller's own answer to a write, passed on like any refusal",
}
NOT_OF_A_POD: Mapping[str, str] = {
    "NearLimit": "a warning, before any pod waits",
    "Ready": "its reason is the cause",
    "Growing": "addresses come: PoolGrowing",
    "AtLimit": "its reason is NodeAtLimit",
    "Drifted": "its reason is AddressesLost",
    "ModeChangePending": "pods start in the former mode meanwhile",
    "NicChangePending": "pods get addresses of the former NIC meanwhile",
    "PermissionMissing": "its reason is AccessDenied",
    "Exhausted": "the nodes' own condition is QuotaExceeded",
    "UsageKnown": "addresses are granted all the same",
    "EntriesRefused": "the node's own reason is EntryRefused",
}
"""Reasons and kinds of conditions that are no cause themselves."""


def reasons_of_conditions() -> set[str]:
    """Each reason that api/conditions.py names: its constants that hold text."""
    body = ast.parse(inspect.getsource(conditions)).body
    named = [one.target.id for one in body if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)]
    return {value for name in named if isinstance(value := getattr(conditions, name), str)}


@pytest.mark.parametrize("cause", sorted({*CAUSES, *causes(), *of_the_page()}))
def test_every_cause_is_brought_about_or_says_why_not(cause: str):
    assert (cause in BROUGHT_ABOUT) != (cause in NO_NODE)


@pytest.mark.parametrize("reason", sorted({*reasons_of_conditions(), *PoolKind, *QuotaKind}))
def test_every_reason_and_kind_of_a_condition_is_a_cause_or_none_of_a_pod(reason: str):
    assert (reason in CAUSES) != (reason in NOT_OF_A_POD)


def test_the_lists_name_nothing_that_is_no_cause():
    assert CAUSES.keys() >= BROUGHT_ABOUT | NO_NODE.keys()
