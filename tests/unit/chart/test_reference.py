"""docs/reference.md is the definitions and the code in tables: what is new in either must be said there."""

import ast
import re
from collections.abc import Iterator
from typing import Any

import pytest

from azure_cni import errors
from azure_cni.model.pod_subnets import NicMissing
from unit.chart.crds import POOLS, QUOTA_SPEC, QUOTAS, schema, version
from unit.chart.helm import REPOSITORY

PAGE = (REPOSITORY / "docs" / "reference.md").read_text()
KINDS = pytest.mark.parametrize("crd", [POOLS, QUOTAS], ids=["nodeippools", "vnetquotas"])

CAMEL = re.compile(r"(?:[A-Z][a-z]+)+")
SPEAKERS = (
    *("api/conditions.py", "api/node_ip_pool.py", "api/vnet_quota.py", "quota/messages.py", "datapath/conflicts.py"),
    *(
        "api/egress.py",
        "quota/nic_messages.py",
        "quota/quota_status.py",
        "quota/subnets.py",
        "node/pool/permissions.py",
        "model/pod_subnets.py",
        "ipam/attachment_outcome.py",
        "ipam/near_limit.py",
        "node/state.py",
        "node/pool/lost_addresses.py",
        "node/pool/nic_writer.py",
        "node/pool/pool_conditions.py",
        "node/pods/assignment.py",
        "node/pool/taint.py",
    ),
)
"""The modules that have reasons of conditions and events as words."""
NO_REASONS = {
    "Deleted",
    "False",
    "InvalidResourceReference",
    "ResourceNotFound",
    "NoSchedule",
    "Node",
    "Normal",
    "True",
    "Warning",
}


def rows(head: str, *, section: str) -> list[list[str]]:
    """The cells of the one table of a section whose first column is headed so."""
    part = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    (table,) = (lines for block in part.split("\n\n") if (lines := block.splitlines())[0].startswith(f"| {head} "))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def named(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


@KINDS
def test_the_columns_are_those_that_kubectl_shows(crd: dict[str, Any]):
    shown = {
        (name, cells[1] == "wide")
        for cells in rows("column", section=crd["spec"]["names"]["kind"])
        for name in cells[0].split(", ")
    }
    columns = version(crd)["additionalPrinterColumns"]
    assert shown == {(column["name"].upper(), bool(column.get("priority"))) for column in columns}


@KINDS
@pytest.mark.parametrize("part", ["spec", "status"])
def test_every_field_is_there_and_no_other(crd: dict[str, Any], part: str):
    reported = [name for cells in rows(f"`{part}`", section=crd["spec"]["names"]["kind"]) for name in named(cells[0])]
    assert sorted(reported) == sorted(schema(crd)["properties"][part]["properties"])


def test_the_defaults_of_a_quota_are_those_of_its_definition():
    reported = {named(cells[0])[0]: cells[2] for cells in rows("`spec`", section="VNetQuota")}
    fields = QUOTA_SPEC["properties"]
    assert reported == {name: str(field.get("default", "required")) for name, field in fields.items()}


def words_of_the_code() -> Iterator[str]:
    for module in SPEAKERS:
        tree = ast.parse((REPOSITORY / "operator" / "azure_cni" / module).read_text())
        constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
        yield from (word for word in constants if isinstance(word, str) and CAMEL.fullmatch(word))
    yield from (kind.reason for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "reason"))


def test_every_reason_is_there_and_no_other():
    assert set(re.findall(rf"`({CAMEL.pattern})`", PAGE)) == set(words_of_the_code()) - NO_REASONS


def test_the_codes_are_those_that_the_runtime_gets():
    reported = {}
    for cells in rows("reason", section="Reasons of failures"):
        reasons, codes = named(cells[0]), cells[1].split(", ")
        reported |= dict(zip(reasons, codes * (len(reasons) // len(codes)), strict=True))
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "reason")]
    kinds.append(NicMissing)
    assert reported == {kind.reason: str(kind.code) for kind in kinds}
