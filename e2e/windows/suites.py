"""Which of the project's own tests run on Windows Python, and why the others do not.

Each directory of tests/unit, and each file of tests/property and tests/contract, is in one of the two lists and not in
both (tests/unit/box/test_windows_suites.py). Names are below tests/, and may be patterns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Suite:
    """`always`: in each run, not only with --every-suite. `options` are pytest's.

    `without`: files and tests of it that do not run there, as pytest names them below tests/, with the reason of each.
    """

    name: str
    paths: tuple[str, ...]
    options: tuple[str, ...] = ()
    always: bool = False
    without: Mapping[str, str] = field(default_factory=dict)

    @property
    def arguments(self) -> tuple[str, ...]:
        """Of pytest, in the repository's directory."""
        left_out = (f"--{'deselect' if '::' in name else 'ignore'}=tests/{name}" for name in self.without)
        return (*self.options, *left_out, *(f"tests/{path}" for path in self.paths))


_CHART: Final = "renders the chart with helm, which runs on Linux"

SUITES: Final = (
    Suite("the contract of the data plane", ("contract/test_datapaths_alike.py",), ("-k", "windows"), always=True),
    Suite(
        "what is of Windows",
        ("unit/windows", "contract/test_hns_stand_in.py", "contract/test_hns_server.py"),
        always=True,
    ),
    Suite("documents of HNS", ("unit/datapath/test_hcn_documents.py",), always=True),
    Suite("rules of all data planes", ("unit/datapath",)),
    Suite(
        "requests and answers of CNI",
        ("unit/cni",),
        without={"unit/cni/test_extra_plugins.py::test_the_chart_hands_on_what_the_agent_takes": _CHART},
    ),
    Suite("rules of the pool and its ledger", ("unit/ipam",)),
    Suite("objects of the cluster", ("unit/api",)),
    Suite("identities, NICs and times", ("unit/model",)),
)

_LINUX: Final = "of Linux' kernel: namespaces, netlink, nftables"
_DOCKER: Final = "of Docker's plugin, which is for Linux"
_TOOLS: Final = "of the tools, charts, documents and releases of this repository, which run on Linux"
_SERVER: Final = "needs a kube-apiserver and etcd, which the tests start on Linux"
_AZURE: Final = "of the fake Azure itself, which no node runs"
_CLUSTER: Final = "of the controller, which runs on Linux nodes"
_COMMANDS: Final = "of the command line, which people run elsewhere; what runs in an agent's container is asked of it"
_CRASHES: Final = "kills processes by signals, which Windows does not have"
_MONTHS: Final = "simulates months; the rules that it tries are unit/ipam's"
_UNTRIED: Final = "could run there, and has not been run to its end yet: under Wine it takes many times as long"

LEFT_OUT: Final = {
    "unit/linux": _LINUX,
    "unit/docker": _DOCKER,
    **dict.fromkeys(
        ("unit/box", "unit/chart", "unit/debian_package", "unit/documentation", "unit/release", "unit/releases",
         "unit/simulation", "unit/soak"), _TOOLS),
    **dict.fromkeys(("unit/cluster", "unit/quota"), _CLUSTER),
    **dict.fromkeys(("unit/commands", "unit/diagnose"), _COMMANDS),
    **dict.fromkeys(
        ("unit/azure", "unit/entrypoints", "unit/host", "unit/kube", "unit/node",
         "unit/watch"), _UNTRIED),
    "property/test_docker_faults.py": _DOCKER,
    "property/test_odd_docker_calls.py": _DOCKER,
    "property/test_crash_*.py": _CRASHES,
    "property/test_odd_files.py": _CRASHES,
    "property/test_odd_connections.py": "of unix sockets; the pipe's bounds are unit/entrypoints'",
    "property/test_leaks.py": _LINUX,
    "property/test_audit_trail.py": "of the audit trail, which Windows nodes do not keep",
    "property/test_*_months.py": _MONTHS,
    "property/test_grant_*.py": _CLUSTER,
    "property/test_subnet_recalls.py": _CLUSTER,
    "property/test_odd_cluster*.py": _CLUSTER,
    **dict.fromkeys(
        (f"property/test_{name}.py" for name in (
            "attachments", "boundaries", "crossing_verbs", "dual_stack", "exhaustion", "hns_lives", "late_writes",
            "ledger", "lost_addresses", "odd_answers", "odd_documents", "odd_hns_answers", "odd_lives", "odd_objects",
            "odd_words", "plan", "taint", "two_tasks")), _UNTRIED),
    "contract/test_datapath_contract.py": _LINUX,
    "contract/test_handover_contract.py": _LINUX,
    "contract/test_policy_engine.py": _LINUX,
    "contract/test_docker_*.py": _DOCKER,
    "contract/test_fake_azure_*.py": _AZURE,
    **dict.fromkeys(
        (f"contract/test_{name}.py" for name in (
            "admission_*", "api_versions", "autoscaler_taint", "cluster_dns", "documented_commands", "events_contract",
            "installed_command", "large_ledger", "lease_contract", "lint_verdicts", "mending_commands",
            "metrics_rights", "network_lab", "node_contract", "pod_condition", "pool_bounds", "pools_contract",
            "quotas_contract", "reviews_contract", "stored_versions", "watch_contract")), _SERVER),
    **dict.fromkeys(
        (f"contract/test_{name}.py" for name in (
            "az_stand_in", "check_azure", "check_azure_rights", "cluster_access", "cluster_access_bounds", "on_azure",
            "on_azure_*", "permissions", "release_files", "roles", "signed_release")), _TOOLS),
    **dict.fromkeys(
        (f"contract/test_{name}.py" for name in (
            "arm_polls", "azure_clouds", "cloud_*", "credentials", "hns_recorded", "imds_client", "kube_redirects",
            "kube_tls", "ledger_store", "nic_*", "node_of_*", "operations_over_http", "pod_nic", "pools_client",
            "proxies", "throttle_gate", "throttled_vm", "which_nic", "windows_agent")), _UNTRIED),
}  # fmt: skip
"""By pattern: the reason."""
