"""`check` of engines for NetworkPolicies: whether one enforces them, and is set for azure-cni."""

from __future__ import annotations

import json
from typing import Any

import pytest

from azure_cni.commands import program_reads, reads
from azure_cni.diagnose.check_results import CheckResult
from azure_cni.diagnose.other_programs import engine_fault
from azure_cni.errors import KubeError
from fakes.cluster_access import FakeClusterAccess
from unit.diagnose.clusters import cluster, node, pool, process
from unit.diagnose.programs import (
    agents,
    configmap,
    daemon,
    named,
    others,
    policy,
    with_objects,
    wrong,
)

ENGINE_ARGS = ["/bin/netpol", "--fail-open=false"]
BEGUN = 'I1130 05:52:33.1 1 controller.go:595] "Syncing nftables rules" logger="nftables-sync"\n'
ENDED = BEGUN.replace("\n", ' elapsed="1ms"\n')
REFUSED = (
    'I1130 05:52:33.2 1 controller.go:817] "syncing nftables rules" logger="nftables-sync" error=<\n'
    "\tconn.Receive: netlink receive: no such file or directory\n\tnetlink receive: no such file or directory\n >\n"
)
"""As v1.1.1 writes it on a kernel without the queue (`tests/datapath/test_beside_policy.py`)."""
WHY = "conn.Receive: netlink receive: no such file or directory"
ON_ONE_LINE = 'I1130 05:52:33.2 1 controller.go:817] "syncing nftables rules" logger="nftables-sync" error="refused"\n'
GIVEN_UP = 'E1130 05:52:33.3 1 cmd.go:86] "Unhandled Error" err="dataplane controller failed: protocol not supported"\n'


@pytest.mark.parametrize(
    ("app", "host", "enforced"),
    [
        ("kube-network-policies", True, True),
        ("calico-node", True, True),
        ("cilium", True, True),
        ("kube-router", True, True),
        ("calico-node", False, False),  # a tenant's pod may have any label
        ("flannel", True, False),
        ("calico-typha", True, False),
    ],
)
def test_policies_without_an_engine_are_found(app: str, *, host: bool, enforced: bool):
    access = with_objects(cluster(daemon(app, host=host)), policies=[policy("web"), policy("db")])
    access.logs["kube-network-policies-x"] = ""
    found = [one for one in wrong(access) if one.code == "PoliciesNotEnforced"]
    assert found == [] if enforced else [one.result for one in found] == [CheckResult.WARNING]
    if not enforced:
        assert found[0].message.endswith("shop/web, shop/db")
        assert found[0].command.endswith("-n kube-system --reset-then-reuse-values --set networkPolicy.enabled=true")


@pytest.mark.parametrize(
    ("flags", "enforced"),
    [
        (["--run-router=false", "--run-firewall=false", "--run-service-proxy=true"], False),
        (["--run-router=false", "--run_firewall=F"], False),
        (["--run-router=false", "--run-firewall=true"], True),
        (["--run-router=false"], True),
        (["--run-firewall=false", "--run-firewall"], True),
    ],
)
def test_kube_router_without_its_firewall_is_no_engine(flags: list[str], *, enforced: bool):
    access = with_objects(cluster(daemon("kube-router", *flags)), policies=[policy("web")])
    assert named(access) == ([] if enforced else ["PoliciesNotEnforced"])


@pytest.mark.parametrize(("value", "enforced"), [("never", False), ("default", True), ("always", True)])
def test_cilium_that_is_told_to_enforce_nothing_is_no_engine(value: str, *, enforced: bool):
    settings = [configmap("cilium-config", **{"enable-policy": value})]
    access = with_objects(cluster(daemon("cilium")), policies=[policy("web")], configmaps=settings)
    assert named(access) == ([] if enforced else ["PoliciesNotEnforced"])


def test_an_engine_s_pod_that_has_ended_is_none():
    """The kubelet keeps evicted pods for a while."""
    ended = daemon("kube-network-policies", *ENGINE_ARGS)
    ended["status"]["phase"] = "Failed"
    ended["status"]["conditions"][-1]["status"] = "False"
    assert named(with_objects(cluster(ended), policies=[policy("web")])) == ["PoliciesNotEnforced"]
    access = engines()
    ended["metadata"]["name"] = "kube-network-policies-former"
    access.objects[reads.PODS].append(ended)
    assert named(access) == []


def test_policies_that_nobody_may_list_are_not_known_to_be_enforced():
    access = with_objects(cluster(), policies=[])
    access.denied.add(program_reads.POLICIES)
    (one,) = wrong(access)
    assert (one.code, one.result) == ("PoliciesNotEnforced", CheckResult.UNKNOWN)


@pytest.mark.parametrize(
    ("first", "newest", "fault"),
    [
        ("", "", ""),
        ("", BEGUN + ENDED, ""),
        ("", BEGUN + REFUSED + ENDED, WHY),
        ("", (BEGUN + REFUSED + ENDED) * 3, WHY),
        ("", BEGUN + REFUSED + ENDED + BEGUN + ENDED, ""),  # it succeeded since
        ("", REFUSED + ENDED, WHY),  # the log was cut before
        (GIVEN_UP, BEGUN + ENDED, "protocol not supported"),  # it is not tried again
        (BEGUN + REFUSED + ENDED, BEGUN + ENDED, ""),
        (BEGUN + REFUSED + ENDED, "of something else\n", WHY),  # nothing has changed since, so nothing was tried
        ("", BEGUN + ON_ONE_LINE + ENDED, "refused"),
    ],
)
def test_an_engine_that_enforces_nothing_is_known_by_its_log(first: str, newest: str, fault: str):
    assert engine_fault(first, newest) == fault


def engines(*, log: str | None = BEGUN + ENDED, **changes: Any) -> FakeClusterAccess:
    access = cluster(daemon("kube-network-policies", *ENGINE_ARGS, **changes))
    if log is not None:
        access.logs["kube-network-policies-x"] = log
    return access


def test_an_engine_whose_rules_the_kernel_refuses_is_ready_and_found_all_the_same():
    assert named(engines()) == []
    (one,) = wrong(engines(log=BEGUN + REFUSED + ENDED))
    assert (one.code, one.result, one.node) == ("PolicyEngine", CheckResult.BAD, "vm1")
    assert "no policy is enforced on vm1" in one.message
    assert one.command == "modprobe -a nft_queue nfnetlink_queue"


def test_a_log_that_nobody_may_read_is_said_and_makes_no_check_unknown():
    access = engines(log=None)
    assert named(access) == []
    evidence = program_reads.with_programs(access, reads.read_cluster(access))
    assert any("logs of the policy engine could not be read" in words for words in evidence.unread)


def test_an_engine_that_was_never_started_has_no_log_to_miss(monkeypatch: pytest.MonkeyPatch):
    access = engines()

    def refuse(path: str, **_: str) -> str:
        raise KubeError(f"cannot read {path}: container is waiting to start: trying and failing to pull image")

    monkeypatch.setattr(access, "read_text", refuse)
    assert not program_reads.with_programs(access, reads.read_cluster(access)).unread


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--fail-open=false"], "may not pass there"),
        (["--fail-open=true"], "pass unjudged there"),
        (["--fail-open", "--v=2"], "pass unjudged there"),
        ([], "pass unjudged there"),  # upstream's default
    ],
)
def test_an_engine_that_is_away_is_said_with_what_that_means(flags: list[str], said: str):
    (one,) = wrong(engine_away("CrashLoopBackOff", *flags))
    assert "not ready on vm1 (CrashLoopBackOff)" in one.message
    assert one.message.endswith(said)


@pytest.mark.parametrize(
    ("state", "command"),
    [
        ("CrashLoopBackOff", "logs"),
        ("", "logs"),  # it runs, and does not answer its probe
        ("ImagePullBackOff", "describe pod"),
        ("CreateContainerConfigError", "describe pod"),
        ("ContainerCreating", "describe pod"),
    ],
)
def test_why_an_engine_is_away_is_in_its_log_only_once_it_has_run(state: str, command: str):
    (one,) = wrong(engine_away(state))
    assert one.command == f"kubectl -n kube-system {command} kube-network-policies-x"


def engine_away(state: str, *flags: str) -> FakeClusterAccess:
    body = daemon("kube-network-policies", "/bin/netpol", *flags)
    body["status"]["conditions"][-1]["status"] = "False"
    body["status"]["containerStatuses"] = [{"state": {"waiting": {"reason": state}} if state else {"running": {}}}]
    access = cluster(body)
    access.logs["kube-network-policies-x"] = ""
    return access


def test_an_engine_that_may_be_evicted_and_a_node_without_one_are_found():
    (priority,) = wrong(engines(priorityClassName=""))
    assert (priority.result, "priorityClassName" in priority.command) == (CheckResult.WARNING, True)
    access = engines()
    access.objects[reads.NODES] += [node("vm2"), node("vm3", conditions=[{"type": "Ready", "status": "False"}])]
    (bare,) = wrong(access)
    assert bare.message.endswith(": vm2")


def test_the_chart_s_own_engine_is_one():
    body = daemon("x", *ENGINE_ARGS)
    body["metadata"]["labels"] = {
        "app.kubernetes.io/name": "azure-cni",
        "app.kubernetes.io/component": "network-policy",
    }
    access = with_objects(cluster(body), policies=[policy("web")])
    access.logs["x-x"] = BEGUN + REFUSED
    assert named(access) == ["PolicyEngine"]


CALICO_ENV = [
    {"name": "FELIX_INTERFACEPREFIX", "value": "acni"},
    {"name": "FELIX_REMOVEEXTERNALROUTES", "value": "false"},
]


SET_PREFIX = "kubectl -n kube-system set env daemonset/calico-node FELIX_INTERFACEPREFIX=acni"


def prefixed(value: str) -> dict[str, str]:
    return {"name": "FELIX_INTERFACEPREFIX", "value": value}


def calico(
    *env: dict[str, Any], felix: dict[str, Any] | None = None, links: str = "calico", **parts: Any
) -> FakeClusterAccess:
    body = daemon("calico-node", env=list(env))
    objects = [] if felix is None else [{"metadata": {"name": "default"}, "spec": felix}]
    return with_objects(cluster(body, processes=agents(LINK_NAMES=links), **parts), felix=objects)


@pytest.mark.parametrize(
    ("access", "commands"),
    [
        (calico(*CALICO_ENV), []),
        (calico(felix={"interfacePrefix": "acni", "removeExternalRoutes": False}), [SET_PREFIX]),
        (calico(prefixed("acni,cali"), CALICO_ENV[1]), []),
        (calico(prefixed("cali,acni"), CALICO_ENV[1]), [SET_PREFIX]),
        (calico({"name": "FELIX_INTERFACEPREFIX", "valueFrom": {"configMapKeyRef": {}}}, CALICO_ENV[1]), []),
        (calico(*CALICO_ENV, links="hash"), ["helm upgrade --set linkNames=calico"]),
        (
            calico(CALICO_ENV[0]),
            ["kubectl -n kube-system set env daemonset/calico-node FELIX_REMOVEEXTERNALROUTES=false"],
        ),
        (
            calico(CALICO_ENV[0], felix={}),
            ["""kubectl patch felixconfiguration default --type=merge -p '{"spec":{"removeExternalRoutes":false}}'"""],
        ),
        (calico(CALICO_ENV[1]), [SET_PREFIX]),
        (
            calico(*CALICO_ENV, pools=[pool(mode="bridge")]),
            ["""kubectl patch nodeippool vm1 --type=merge -p '{"spec":{"mode":"transparent"}}'"""],
        ),
    ],
    ids=[
        "all set",
        "only by its object",
        "first",
        "second",
        "hidden",
        "our names",
        "routes",
        "routes by its object",
        "prefix",
        "bridge",
    ],
)
def test_each_setting_of_calico_that_is_missing_is_named(access: FakeClusterAccess, commands: list[str]):
    found = wrong(access)
    assert {one.code for one in found} <= {"CalicoSettings"}
    chart = "azure-cni charts/azure-cni -n kube-system --reset-then-reuse-values "
    assert [one.command.replace(chart, "") for one in found] == commands
    assert others(access) == [], "it is no other network plugin"


@pytest.mark.parametrize(("env", "well"), [((), False), ((prefixed("acni"),), True), ((prefixed("cali"),), False)])
def test_typha_makes_the_names_where_it_runs(env: tuple[dict[str, str], ...], *, well: bool):
    access = calico(*CALICO_ENV)
    access.objects[reads.PODS].append(
        daemon("calico-typha", env=list(env), kind="ReplicaSet", owner="calico-typha-5d4")
    )
    found = [(one.message, one.command) for one in wrong(access)]
    command = "kubectl -n kube-system set env deployment/calico-typha FELIX_INTERFACEPREFIX=acni"
    assert found == ([] if well else [("Typha looks for links cali*, and those of pods are acni*", command)])


def test_of_agents_on_windows_nothing_is_concluded_about_linux():
    on_windows = process("agent", "windows1")
    on_windows["metadata"]["labels"]["azure-cni.io/system"] = "windows"
    body = daemon("calico-node", env=CALICO_ENV)
    assert named(cluster(body, processes=[on_windows, *agents(LINK_NAMES="calico")])) == []


def test_calico_as_a_network_of_its_own_is_that_and_nothing_else():
    alone = calico(links="hash")
    assert named(alone) == []
    assert "Calico" in others(alone)[0]
    backend = calico({"name": "CALICO_NETWORKING_BACKEND", "value": "none"}, links="hash")
    assert set(named(backend)) == {"CalicoSettings"}


def test_calico_whose_object_nobody_may_read_is_not_known_to_be_well():
    access = calico(CALICO_ENV[0])
    access.denied.add(program_reads.FELIX)
    assert [(one.code, one.result) for one in wrong(access)] == [("CalicoSettings", CheckResult.UNKNOWN)]


CHAINED = {"cni-chaining-mode": "generic-veth"}
ENTRY = '[{"type":"cilium-cni","chaining-mode":"generic-veth"}]'


@pytest.mark.parametrize(
    ("plugins", "data", "words"),
    [
        (ENTRY, CHAINED, []),
        ("[]", CHAINED, ["called for no pod"]),
        (ENTRY, {"cni-chaining-mode": "none"}, ["cni-chaining-mode none"]),
        (ENTRY, CHAINED | {"write-cni-conf-when-ready": "/host/etc/cni/net.d/05-cilium.conflist"}, ["05-cilium"]),
    ],
)
def test_each_setting_of_chained_cilium_that_is_missing_is_named(plugins: str, data: dict[str, str], words: list[str]):
    access = with_objects(
        cluster(daemon("cilium"), processes=agents(EXTRA_PLUGINS=plugins)),
        configmaps=[configmap("cilium-config", **data)],
    )
    found = wrong(access)
    assert len(found) == len(words)
    for one, said in zip(found, words, strict=True):
        assert (one.code, one.result) == ("CiliumSettings", CheckResult.BAD)
        assert said in one.message
        assert one.command
    assert others(access) == []


def test_cilium_s_entry_is_added_to_those_that_are_there():
    other = {"type": "tuning", "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}}
    access = with_objects(
        cluster(daemon("cilium"), processes=agents(EXTRA_PLUGINS=json.dumps([other]))),
        configmaps=[configmap("cilium-config", **CHAINED)],
    )
    (one,) = wrong(access)
    value = one.command.partition("--set-json 'cni.extraPlugins=")[2].removesuffix("'")
    assert json.loads(value) == [other, *json.loads(ENTRY)]


def test_cilium_as_a_network_of_its_own_and_kube_router_s_firewall_alone():
    access = with_objects(cluster(daemon("cilium")), configmaps=[configmap("cilium-config")])
    assert (named(access), len(others(access))) == ([], 1)
    assert others(cluster(daemon("kube-router", "--run-router=false", "--run-firewall=true"))) == []
    assert len(others(cluster(daemon("kube-router", "--run-router=true")))) == 1
