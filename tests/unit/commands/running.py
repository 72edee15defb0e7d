"""How tests run a command on a cluster of their own."""

from __future__ import annotations

from click.testing import CliRunner, Result

from azure_cni import __version__
from azure_cni.api.introspection import NodeReport, encode_report
from azure_cni.entrypoints.cli import main
from fakes.cluster_access import FakeClusterAccess
from unit.diagnose.clusters import condition, pool

A = "10.240.0.36"
FULL = pool("vm1", condition("Ready", False, "SubnetFull", "the subnet has no room"))
AGENT = "azure-cni-agent-vm1"


def run(access: FakeClusterAccess, *words: str) -> Result:
    return CliRunner().invoke(main, words, obj=access, catch_exceptions=False)


def answering(access: FakeClusterAccess, report: NodeReport | None = None) -> FakeClusterAccess:
    """Its agent can be asked."""
    access.printed[AGENT] = encode_report(
        report or NodeReport(node="vm1", version=__version__, time="2026-11-28T06:19:26Z")
    )
    return access
