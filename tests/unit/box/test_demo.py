"""The demo runs what it shows, and fails when what it shows is wrong. Its words and its layout are not tested."""

import io
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address
from types import SimpleNamespace

import pytest

from azurebox.demo import addresses, commandline, features, figures, tour, traffic, workload
from azurebox.demo.course import play, report
from azurebox.demo.guide import Guide, type_in
from azurebox.demo.paper import Paper
from azurebox.demo.workload import Pod
from azurebox.fabric.topology import INTERNET_HOST, ONPREM
from azurebox.steps import StepError

CALLER = Pod("demo-vm1-a", "azbox-vm1", IPv4Address("10.240.0.7"))
SERVER = Pod("demo-vm2-b", "azbox-vm2", IPv4Address("10.240.0.9"))
PODS = (CALLER, SERVER)
NODE = "10.240.0.5"
PUBLIC = "198.51.100.11"


class Answers:
    """A person's shell: what a command prints, by a word that it contains."""

    def __init__(self, answers: Mapping[str, str]) -> None:
        self.answers = answers

    def __call__(self, words: Sequence[str]) -> str:
        text = " ".join(words)
        return next(answer for key, answer in self.answers.items() if key in text)


def a_guide(answers: Mapping[str, str] | None = None) -> Guide:
    return Guide(Paper(io.StringIO()), run=Answers(answers or {}))


def written(guide: Guide) -> str:
    assert isinstance(guide.paper.stream, io.StringIO)
    return guide.paper.stream.getvalue()


def a_box(**methods: object) -> SimpleNamespace:
    return SimpleNamespace(**methods)


def caller(address: str) -> str:
    return json.dumps({"host": "somewhere", "caller": address})


@pytest.mark.parametrize(("seen", "wrong"), [("10.240.0.7:43210", 0), (f"{NODE}:43210", 1), ("", 1)])
def test_a_server_must_see_the_pod_that_calls(seen: str, wrong: int):
    guide = a_guide({"clientip": seen})
    traffic.show_pod_to_pod(guide, a_box(), PODS)
    assert len(guide.wrong) == wrong


@pytest.mark.parametrize(("seen", "wrong"), [("10.240.0.7", 0), (NODE, 1)])
def test_a_host_on_the_premises_must_see_the_pod(seen: str, wrong: int):
    guide = a_guide({"whoami": caller(seen)})
    traffic.show_onprem(guide, a_box(), PODS)
    assert len(guide.wrong) == wrong


@pytest.mark.parametrize(
    ("pod_seen", "node_seen", "wrong"),
    [
        (PUBLIC, PUBLIC, 0),
        ("10.240.0.7", PUBLIC, 1),
        ("198.51.100.99", "198.51.100.99", 1),  # both the same, but not what Azure has for the primary address
    ],
)
def test_the_internet_must_see_the_public_address_of_the_node(pod_seen: str, node_seen: str, wrong: int):
    guide = a_guide({"kubectl": caller(pod_seen), "wget": caller(node_seen)})
    box = a_box(azure=lambda *_: [{"vm": "azbox-vm1", "primary": NODE}])
    traffic.show_internet(guide, box, PODS, public_addresses=lambda: {IPv4Address(NODE): IPv4Address(PUBLIC)})
    assert len(guide.wrong) == wrong


@pytest.mark.parametrize(("ready", "wrong"), [("Ready", 0), ("NotReady", 1)])
def test_every_node_must_be_ready(ready: str, wrong: int):
    guide = a_guide({"nodes": f"NAME        STATUS\nazbox-vm1   Ready\nazbox-vm2   {ready}\n"})
    addresses.show_nodes(guide, a_box(), PODS)
    assert len(guide.wrong) == wrong


@pytest.mark.parametrize(
    ("found", "seen", "wrong"),
    [("10.0.0.9   demo-vm2.default.svc.cluster.local", "10.240.0.7", 0), ("", "10.240.0.7", 1), ("demo-vm2", NODE, 1)],
)
def test_a_name_must_lead_to_a_pod_that_sees_the_caller(found: str, seen: str, wrong: int):
    guide = a_guide({"getent": found, "clientip": f"{seen}:43210"})
    traffic.show_name(guide, a_box(kubectl=lambda *_: ""), PODS)
    assert len(guide.wrong) == wrong


class Azure:
    """An Azure with one load balancer and one public IP address, both of which work at once; keeps what it is asked."""

    nodes = ("azbox-vm1", "azbox-vm2")
    answers: Mapping[str, object] = {
        "/load-balancers": [{"name": "demo", "frontend": "10.240.0.99", "up": "10.240.0.7 10.240.0.9"}],
        "/public-ips": [{"name": "demo", "address": PUBLIC}],
        "/nics": [{"state": "Succeeded"}],
    }

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def azure(self, method: str, path: str, json: object = None) -> object:
        self.asked.append((method, path))
        return self.answers.get(path)

    def wait_for(self, condition: Callable[[], object], *_: object) -> object:
        return condition()


OUTSIDE = {
    "azbox-onprem -- busybox": f"{ONPREM.address}:40000",
    "azbox-onprem -- sh": "7 demo-vm1-a\n5 demo-vm2-b",
    "azbox-internet": f"{INTERNET_HOST.address}:40000",
    "azure": "",
}


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        ({}, 0),
        ({"azbox-onprem -- sh": "12 demo-vm1-a"}, 1),
        ({"azbox-onprem -- busybox": f"{NODE}:40000"}, 1),
        ({"azbox-internet": f"{NODE}:40000"}, 1),
    ],
    ids=["all is well", "pods of one node", "not the host itself", "not the internet itself"],
)
def test_who_comes_by_a_frontend_or_a_public_address_must_be_seen_as_itself(changed: dict[str, str], wrong: int):
    guide = a_guide({**OUTSIDE, **changed})
    features.show_attachments(guide, Azure(), PODS)
    assert len(guide.wrong) == wrong


def test_nothing_stays_attached_after_a_scene_that_failed():
    def fails(words: Sequence[str]) -> str:
        if "assign" in words:
            raise StepError("cannot assign it")
        return Answers(OUTSIDE)(words)

    azure = Azure()
    guide = Guide(Paper(io.StringIO()), run=fails)
    with pytest.raises(StepError):
        features.show_attachments(guide, azure, PODS)
    deleted = {path for method, path in azure.asked if method == "DELETE"}
    assert {"/load-balancers/demo", "/public-ips/demo", "/nat-gateways/demo"} <= deleted


@pytest.mark.parametrize(("state", "wrong"), [("Succeeded", 0), ("Updating", 1)])
def test_every_pod_must_be_on_the_nic_of_its_vm(state: str, wrong: int):
    def nic(address: str) -> str:
        held = {"privateIPAddress": address, "provisioningState": state, "primary": False}
        return json.dumps({"properties": {"ipConfigurations": [{"name": "azure-cni-a", "properties": held}]}})

    guide = a_guide({"/nics/vm1-nic": nic("10.240.0.7"), "/nics/vm2-nic": nic("10.240.0.9")})
    nics = [{"vm": f"azbox-{name}", "name": f"{name}-nic"} for name in ("vm1", "vm2")]
    addresses.show_nics(guide, a_box(nodes=["azbox-vm1", "azbox-vm2"], azure=lambda *_: nics), PODS)
    assert len(guide.wrong) == 2 * wrong


@pytest.mark.parametrize(("used", "wrong"), [("87.25", 0), ("113.5", 1)])
def test_no_agent_may_use_more_than_the_chart_reserves(used: str, wrong: int):
    agents = {"spec": {"template": {"spec": {"containers": [{"resources": {"requests": {"memory": "112Mi"}}}]}}}}
    text = f'{{node="azbox-vm1"}} => 80 @[1764000000.1]\n{{node="azbox-vm2"}} => {used} @[1764000000.1]\n'
    guide = a_guide({"process_resident_memory_bytes": text})
    box = a_box(nodes=["azbox-vm1", "azbox-vm2"], kubectl_json=lambda *_: {"items": [agents]})
    figures.show_memory(guide, box, PODS)
    assert len(guide.wrong) == wrong


@pytest.mark.parametrize(("said", "wrong"), [("10.240.0.7 is the address of pod default/demo-vm1-a", 0), ("nobody", 1)])
def test_the_command_line_must_know_whose_an_address_is(said: str, wrong: int):
    guide = a_guide({"azure-cni status": "nothing is wrong", "azure-cni who": said})
    commandline.show_status(guide, a_box(), PODS)
    assert len(guide.wrong) == wrong


def test_the_demo_fails_where_the_command_line_finds_something_wrong():
    def type_it(words: Sequence[str]) -> str:
        if "status" in words:
            raise StepError("e2e/box azure-cni status ended with status 1", output="SubnetFull")
        return "demo-vm1-a"

    guide = Guide(Paper(io.StringIO()), run=type_it)
    commandline.show_status(guide, a_box(), PODS)
    assert guide.wrong == ["azure-cni status finds something wrong:"]
    assert "SubnetFull" in written(guide)


def test_the_last_that_is_shown_is_that_nothing_is_wrong_and_what_to_ask_next_is_offered():
    typed = list[str]()

    def type_it(words: Sequence[str]) -> str:
        typed.append(" ".join(words[1:3]))
        return "demo-vm1-a"

    tour.SCENES[-1](Guide(Paper(io.StringIO()), run=type_it), a_box(), PODS)
    assert typed[-1] == "azure-cni status"
    offered = [command for commands in tour.NEXT.values() for command in commands]
    assert {"e2e/box azure-cni why -n default", "e2e/box azure-cni test"} <= set(offered)


def test_pods_with_an_address_of_their_own_are_counted_on_each_node():
    def pod(node: str, *, phase: str = "Running", address: str = "10.240.0.7", host: bool = False) -> dict[str, object]:
        spec = {"nodeName": node, **({"hostNetwork": True} if host else {})}
        return {"spec": spec, "status": {"phase": phase, "podIP": address}}

    items = [
        pod("azbox-vm1"),
        pod("azbox-vm1", phase="Pending"),  # its network is there, its containers are not
        pod("azbox-vm1", phase="Succeeded"),
        pod("azbox-vm1", phase="Pending", address=""),
        pod("azbox-vm1", address="10.240.0.5", host=True),
    ]
    box = a_box(nodes=["azbox-vm1", "azbox-vm2"], kubectl_json=lambda *_: {"items": items})
    assert workload.addressed(box) == {"azbox-vm1": 2, "azbox-vm2": 0}


def test_series_of_promtool_have_labels_and_a_value():
    text = '{node="azbox-vm1", state="free"} => 22 @[1764000000.123]\n'
    assert figures.series(text) == [({"node": "azbox-vm1", "state": "free"}, 22.0)]


def test_after_a_scene_that_fails_the_others_go_on_and_the_demo_fails():
    def fails() -> None:
        raise StepError("cannot do it", output="why")

    guide = a_guide()
    play(guide, [fails, lambda: guide.chapter("Later", "This is shown.")])
    assert "This is shown." in written(guide)
    assert guide.wrong == ["cannot do it"]
    assert report(guide, {}, took_s=95, remains="") == 1
    assert report(a_guide(), {}, took_s=95, remains="") == 0


def test_a_command_that_fails_is_an_error_with_its_words():
    with pytest.raises(StepError, match="status 3") as raised:
        type_in(["sh", "-c", "echo so it is >&2; exit 3"])
    assert "so it is" in str(raised.value)


def test_what_is_shown_as_a_command_is_that_command(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "100")  # no word of these is longer
    guide = a_guide()
    words = ["e2e/box", "exec", "azbox-cp", "--", "promtool", "sum by (node) (x)", "a-word-that-is-long" * 4]
    guide.paper.command(words)
    shown = written(guide).replace("\\\n", " ").strip().removeprefix("$ ")
    assert shlex.split(shown) == words
    assert all(len(line) <= guide.paper.width for line in written(guide).splitlines())
