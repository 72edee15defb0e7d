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


_CLUSTER: Final = "of the controller, which runs on Linux nodes"
_COMMANDS: Final = "of the command line, which people run elsewhere; what runs in an agent's container is asked of it"
_CONFLIST: Final = "installs Linux' conflist, whose paths begin with /; e2e/windows has that of Windows"
_DOCKER: Final = "of Docker's plugin, which is for Linux"
_FILES: Final = "bounds what a process has open by Python's module resource, which is not for Windows"
_LARGE: Final = "moves 32 MiB, for which Wine's sockets on a busy machine take longer than a client waits"
_LINKS: Final = "puts a Secret in place by symbolic links, which Wine does not make"
_LOADS: Final = "starts another Python and waits a minute for what it loads, which takes longer on a busy machine"
_MEMORY: Final = "measures the memory of a process as Linux counts it"
_UNIX: Final = "asks over unix sockets, which Python for Windows lacks; e2e/windows has the pipe"


def _entrypoints(reason: str, *names: str) -> dict[str, str]:
    return {f"unit/entrypoints/test_{name}.py": reason for name in names}


def _contract(*names: str) -> tuple[str, ...]:
    return tuple(f"contract/test_{name}.py" for name in names)


def _property(*names: str) -> tuple[str, ...]:
    return tuple(f"property/test_{name}.py" for name in names)


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
    Suite(
        "Azure's clients, over TLS",
        _contract("arm_polls", "azure_clouds", "cloud_documents", "cloud_errors", "cloud_identify", "cloud_token",
                  "cloud_vnets", "credentials", "imds_client", "proxies", "throttle_gate", "throttled_vm", "which_nic"),
    ),
    Suite(
        "NICs, over TLS",
        _contract("nic_arm", "nic_attachments", "nic_blocks", "nic_contract", "nic_document", "nic_instance",
                  "nic_ipv6", "nic_owners_document", "node_of_blocks", "node_of_pod_subnet", "node_of_scale_set",
                  "node_of_two_families", "pod_nic"),
    ),
    Suite(
        "the API server's client, the ledger, and records of HNS",
        _contract("hns_recorded", "kube_redirects", "kube_tls", "ledger_store", "operations_over_http", "pools_client"),
    ),
    Suite("identities, NICs and times", ("unit/model",)),
    Suite("a node's pool and pods", ("unit/node",)),
    Suite(
        "settings, logs and metrics of the agent",
        ("unit/entrypoints",),
        without={
            **_entrypoints(_UNIX, "cni_server", "introspection", "netns_socket", "runtime_pipe", "runtime_sockets"),
            **_entrypoints(_FILES, "cni_listener", "listener"),
            **_entrypoints("loads Linux' and Docker's modules, whose metrics it reads too", "metric_families"),
            **_entrypoints(_DOCKER, "docker_service", "docker_settings", "docker_socket"),
            **_entrypoints(_CONFLIST, "conflist_version", "installation", "installation_reboot"),
            **_entrypoints("binds 127.0.0.2, which Wine refuses, and reads Linux' table of sockets", "web_tls"),
            **_entrypoints("asks on Linux what an agent for Windows loads", "agent_platform"),
            **_entrypoints(_LOADS, "azure_wiring"),
            "unit/entrypoints/test_cli.py::test_the_last_collection_passes_over": _COMMANDS,
            "unit/entrypoints/test_controller_operations.py::test_a_controller_that_writes_no_nic": _CLUSTER,
            "unit/entrypoints/test_exemplars.py::test_no_exemplar_names_a_pod_or_a_namespace": _UNIX,
            "unit/entrypoints/test_settings.py::test_the_node_name_is_enough": "asks for Linux' own directories",
            **{
                f"unit/entrypoints/test_certificate.py::{name}": _LINKS
                for name in (
                    "test_a_secret_that_is_replaced_serves_from_the_next_connection_on",
                    "test_without_a_secret_there_is_no_handshake_and_with_one_there_is",
                    "test_a_pair_that_cannot_be_used_leaves_the_one_before",
                    "test_a_secret_that_is_taken_away_leaves_the_pair_before",
                )
            },
        },
    ),
    Suite("what Azure says of a VM", ("unit/azure",)),
    Suite(
        "watches of the API server",
        ("unit/watch",),
        without={"unit/watch/test_kopf_runner.py::test_a_user_without_a_name_is_enough": "of /etc/passwd"},
    ),
    Suite(
        "answers of the API server",
        ("unit/kube",),
        without={
            "unit/kube/test_lean_answers.py::test_an_answer_without_end_is_read_up_to_a_limit": _LARGE,
            "unit/kube/test_lean_answers.py::test_a_large_answer_is_read": _LARGE,
            "unit/kube/test_lean_answers.py::test_pools_of_a_megabyte_are_listed_and_watched": _MEMORY,
            "unit/kube/test_lean_pods.py::test_pods_of_many_megabytes_are_listed_and_watched": _MEMORY,
        },
    ),
    Suite(
        "lives of a node on HNS, and verbs that cross",
        _property("hns_lives", "odd_hns_answers", "crossing_verbs"),
    ),
)  # fmt: skip

_LINUX: Final = "of Linux' kernel: namespaces, netlink, nftables"
_TOOLS: Final = "of the tools, charts, documents and releases of this repository, which run on Linux"
_SERVER: Final = "needs a kube-apiserver and etcd, which the tests start on Linux"
_AZURE: Final = "of the fake Azure itself, which no node runs"
_CRASHES: Final = "kills processes by signals, which Windows does not have"
_MONTHS: Final = "simulates months; the rules that it tries are unit/ipam's"
_RULES: Final = (
    "tries rules without files, processes, sockets and clocks, by thousands of examples, as `make test` does"
)
_VIRTUAL: Final = (
    "a node in virtual time, with fakes in the system's place; unit/node has such nodes on Windows' event loop"
)
_DOCUMENTS: Final = (
    "reads thousands of odd documents, as `make test` does; contract's NICs and unit/azure read theirs there"
)
_OBJECTS: Final = "of agents and controllers, by thousands of odd objects; unit/api and unit/node read theirs there"
_WORDS: Final = (
    "of commands, controller and Docker too, by thousands of odd words; unit/entrypoints reads an agent's there"
)
_HOST: Final = (
    "of Linux' modes, owners and links of files, with Windows' refusals simulated; test_lives.py has real ones"
)

LEFT_OUT: Final = {
    "unit/linux": _LINUX,
    "unit/docker": _DOCKER,
    **dict.fromkeys(
        ("unit/box", "unit/chart", "unit/debian_package", "unit/documentation", "unit/release", "unit/releases",
         "unit/simulation", "unit/soak"), _TOOLS),
    **dict.fromkeys(("unit/cluster", "unit/quota"), _CLUSTER),
    **dict.fromkeys(("unit/commands", "unit/diagnose"), _COMMANDS),
    "unit/host": _HOST,
    "property/test_docker_faults.py": _DOCKER,
    "property/test_odd_docker_calls.py": _DOCKER,
    "property/test_crash_*.py": _CRASHES,
    "property/test_odd_files.py": _CRASHES,
    "property/test_odd_connections.py": "of unix sockets; the pipe's bounds are unit/entrypoints'",
    "property/test_leaks.py": _LINUX,
    "property/test_boundaries.py": "reads the sources of this repository, which are the same on each system",
    "property/test_audit_trail.py": "of the audit trail, which Windows nodes do not keep",
    "property/test_*_months.py": _MONTHS,
    "property/test_grant_*.py": _CLUSTER,
    "property/test_subnet_recalls.py": _CLUSTER,
    "property/test_odd_cluster*.py": _CLUSTER,
    **dict.fromkeys(_property("dual_stack", "exhaustion", "late_writes", "ledger", "plan", "taint"), _RULES),
    **dict.fromkeys(_property("attachments", "lost_addresses", "odd_lives", "two_tasks"), _VIRTUAL),
    **dict.fromkeys(_property("odd_answers", "odd_documents"), _DOCUMENTS),
    **dict.fromkeys(_property("odd_objects"), _OBJECTS),
    **dict.fromkeys(_property("odd_words"), _WORDS),
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
    "contract/test_windows_agent.py":
        "has a unix socket in the pipe's place, which Python for Windows lacks; this directory's tests have the pipe",
}  # fmt: skip
"""By pattern: the reason."""
