"""`trace` from its words to the answer: who is meant, what the agent is asked, and what its answers lead to."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
from msgspec.structs import replace

from azure_cni.api.introspection import encode_report
from azure_cni.api.trace_reports import ForwardingReport, TraceReport
from azure_cni.commands.trace import SERVICES
from fakes.cluster_access import FakeClusterAccess
from unit.commands.running import AGENT, A, run
from unit.diagnose.clusters import cluster, pod, pool
from unit.diagnose.test_packet_trace import TABLE

B, CLUSTER_IP, OUTSIDE, ELSEWHERE = "10.240.0.37", "10.96.0.10", "203.0.113.9", "10.240.0.77"
SLICES = "/apis/discovery.k8s.io/v1/endpointslices"


def service(name: str = "web", *, ip: str = CLUSTER_IP, **spec: Any) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80}, {"name": "metrics", "port": 9090}]
    return {"metadata": {"namespace": "default", "name": name}, "spec": {"clusterIP": ip, "ports": ports} | spec}


def endpoints(*addresses: str, ready: bool = True, name: str = "web") -> dict[str, Any]:
    return {
        "metadata": {"namespace": "default", "name": name, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}, {"name": "metrics", "port": 9091}],
        "endpoints": [{"addresses": [one], "conditions": {"ready": ready}} for one in addresses],
    }


def asked(*ways: ForwardingReport, **changes: Any) -> FakeClusterAccess:
    """A cluster whose agent answers so about its pod default/web."""
    other = pod("other", ip=B)
    elsewhere = pod("elsewhere", node="vm2", ip=ELSEWHERE, phase="Running")
    pools = [pool(), pool("vm2", vnetAddresses=[f"{ELSEWHERE} azure-cni-0c"], primaryIP="10.240.0.5")]
    access = cluster(pod("web", ip=A, phase="Running"), other, elsewhere, pod("waits"), pools=pools)
    access.objects |= {SERVICES: [service()], SLICES: [endpoints(B, ELSEWHERE)]}
    report = TraceReport("vm1", source=A, holder="pod default/web", interfaces=["acni0"], table=TABLE, ways=list(ways))
    access.printed[AGENT] = encode_report(replace(report, **changes))
    return access


def out(destination: str) -> ForwardingReport:
    return ForwardingReport(destination, "forward", "eth0", "10.240.0.1", 254)


def near(destination: str) -> ForwardingReport:
    return ForwardingReport(destination, "forward", "acni1", table=254, pod="pod default/other")


def answer(access: FakeClusterAccess, destination: str, *words: str, code: int = 0) -> Any:
    done = run(access, "trace", "web", destination, *words, "-o", "json")
    assert done.exit_code == code, done.stderr
    return json.loads(done.stdout)


def test_an_address_outside_hop_by_hop():
    access = asked(out(OUTSIDE))
    done = run(access, "trace", "default/web", f"{OUTSIDE}:443")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0] == f"√ default/web to {OUTSIDE}:443: passes, seen as 10.240.0.4"
    assert [line.split()[1] for line in lines[1:] if line.startswith("  ") and line.split()[0] != "az"] == [
        "pod", "source", "route", "address", "azure", "far",
    ]  # fmt: skip
    assert "az network nic list-effective-nsg" in done.stdout
    assert access.ran == [
        ("kube-system", AGENT, ("azure-cni", "introspect", f"/introspection/v1/trace?source={A}&to={OUTSIDE}"))
    ]


def test_what_the_guard_refuses_exits_with_1():
    found = answer(asked(out("169.254.169.254")), "169.254.169.254:80", code=1)
    assert found["traces"][0]["result"] == "refused"


@pytest.mark.parametrize("name", ["elsewhere", "default/elsewhere", f"{ELSEWHERE}"])
def test_a_pod_on_another_node_is_named(name: str):
    (one,) = answer(asked(out(ELSEWHERE)), name)["traces"]
    assert (one["who"], one["seenAs"]) == ("pod default/elsewhere on node vm2", A)


@pytest.mark.parametrize("name", ["default/web", "web.default.svc", "web.default.svc.cluster.local", CLUSTER_IP])
def test_a_service_leads_to_each_of_its_ready_endpoints(name: str):
    access = asked(near(B), out(ELSEWHERE))
    access.objects["/api/v1/pods"] = [
        one for one in access.objects["/api/v1/pods"] if one["metadata"]["name"] != "web"
    ] + [pod("caller", ip=A, phase="Running")]
    done = run(access, "trace", "caller", f"{name}:9090", "-o", "json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert [(one["destination"], one["port"]) for one in found["traces"]] == [(B, 9091), (ELSEWHERE, 9091)]
    assert f"translates {CLUSTER_IP} to one of its ready endpoints (2)" in found["how"][0]


def test_only_so_many_endpoints_are_traced_and_the_rest_is_counted():
    many = [f"10.240.1.{number}" for number in range(1, 7)]
    access = asked(*map(out, many))
    access.objects[SLICES] = [endpoints(*many)]
    found = answer(access, CLUSTER_IP)
    assert (len(found["traces"]), found["how"][1]) == (4, "2 more endpoints are not traced")


def test_the_command_for_a_nic_is_there_once_however_many_endpoints_are_behind_it():
    many = [f"10.240.1.{number}" for number in range(1, 4)]
    access = asked(*map(out, many))
    access.objects[SLICES] = [endpoints(*many)]
    done = run(access, "trace", "default/web", CLUSTER_IP)
    commands = [line.strip() for line in done.stdout.splitlines() if line.strip().startswith("az ")]
    assert len(commands) == len(set(commands)) > 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("web", "web.default.svc:81"), 2, "it has no port 81; its ports: 80, 9090"),
        (("web", "away.default.svc"), 2, "another name for example.com"),
        (("web", "idle.default.svc"), 2, "no ready endpoint"),
        (("web", "nobody"), 3, "there is no pod and no Service of that name"),
        (("web", "waits"), 3, "it has no address; see azure-cni why default/waits"),
        (("waits", OUTSIDE), 3, "it has no address; see azure-cni why default/waits"),
        (("web", f"{OUTSIDE}:0"), 2, "a number from 1 to 65535"),
        (("web", f"{OUTSIDE}:{'9' * 5000}"), 2, "a number from 1 to 65535"),
        (("web", "2001:db8::1"), 2, "traces are of IPv4"),
        (("nobody", OUTSIDE), 3, "cannot find pod nobody"),
    ],
)
def test_what_cannot_be_traced_is_said(words: tuple[str, ...], code: int, said: str):
    access = asked(out(OUTSIDE))
    access.objects[SERVICES] += [
        service("away", ip="10.96.0.11", type="ExternalName", externalName="example.com"),
        service("idle", ip="10.96.0.12"),
    ]
    access.objects[SLICES].append(endpoints("10.240.0.50", ready=False, name="idle"))
    done = run(access, "trace", *words)
    assert (done.exit_code, said in done.stderr) == (code, True), done.stderr


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"table": None}, "it has not made the node's table since it started"),
        ({"error": "no route of the node leads"}, "no route of the node leads"),
        ({"ways": []}, "answers for other ones"),
        ({"table": replace(TABLE, vnet=["everything"])}, "makes no sense"),
    ],
)
def test_an_agent_that_cannot_say_is_no_answer(changes: dict[str, Any], said: str):
    done = run(asked(out(OUTSIDE), **changes), "trace", "web", OUTSIDE)
    assert (done.exit_code, said in done.stderr) == (3, True)


def test_who_may_not_ask_the_agent_is_told():
    access = asked(out(OUTSIDE))
    access.printed.clear()
    assert run(access, "trace", "web", OUTSIDE).exit_code == 3


def test_what_may_be_in_the_way_is_a_note():
    found = answer(asked(out(OUTSIDE), conflicts=["chain FORWARD drops"], holder="pod default/older"), OUTSIDE)
    assert "chain FORWARD drops" in found["notes"][0]
    assert "belongs to pod default/older" in found["notes"][1]


def test_a_pod_in_the_nodes_network_is_none_of_ours():
    access = asked()
    access.objects["/api/v1/pods"].append(pod("host", ip="10.240.0.4", phase="Running", host=True))
    done = run(access, "trace", "host", OUTSIDE)
    assert (done.exit_code, access.ran) == (0, [])
    assert "whose own packets azure-cni does not touch" in done.stdout


def test_a_hosts_name_is_resolved_here_and_that_is_said(monkeypatch: pytest.MonkeyPatch):
    entry = (socket.AF_INET, socket.SOCK_STREAM, 6, "", (OUTSIDE, 0))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [entry])
    found = answer(asked(out(OUTSIDE)), "example.com:443")
    assert "resolved on this computer" in found["how"][0]

    def unknown(*_: object) -> None:
        raise OSError(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    done = run(asked(), "trace", "web", "no.example")
    assert (done.exit_code, "cannot resolve it" in done.stderr) == (2, True)


@pytest.mark.parametrize("name", ["a..b", ".example.com", f"{'a' * 64}.example.com"])
def test_what_no_resolver_takes_is_a_wrong_command_line(name: str):
    done = run(asked(), "trace", "web", name)
    assert (done.exit_code, "cannot resolve it (it is no name)" in done.stderr) == (2, True)


def test_who_may_not_see_services_traces_to_the_address_itself():
    access = asked(out(CLUSTER_IP))
    access.denied.add(SERVICES)
    assert [one["destination"] for one in answer(access, CLUSTER_IP)["traces"]] == [CLUSTER_IP]
