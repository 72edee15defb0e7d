"""The demo shows what it runs, and fails when what it shows is wrong."""

import io
import json
import shlex
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address
from types import SimpleNamespace

import pytest

from azurebox.demo import addresses, figures, tour, traffic, workload
from azurebox.demo.guide import Guide, type_in
from azurebox.demo.paper import Paper, aligned, pick
from azurebox.demo.workload import Pod
from azurebox.steps import StepError
from bench.__main__ import judged

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
    assert ("WRONG: " in written(guide)) == bool(wrong)


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


@pytest.mark.parametrize(("state", "wrong"), [("Succeeded", 0), ("Updating", 1)])
def test_every_pod_must_be_on_the_nic_of_its_vm(state: str, wrong: int):
    def nic(address: str) -> str:
        entry = {"name": "azure-cni-a", "properties": {"privateIPAddress": address, "provisioningState": state}}
        return json.dumps({"properties": {"ipConfigurations": [entry]}})

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


def test_after_a_scene_that_fails_the_others_go_on_and_the_demo_fails(monkeypatch: pytest.MonkeyPatch):
    def fails(*_: object) -> None:
        raise StepError("cannot do it", output="why")

    def goes_on(guide: Guide, *_: object) -> None:
        guide.chapter("Later", "This is shown.")

    monkeypatch.setattr(tour, "SCENES", (fails, goes_on))
    guide = a_guide()
    tour.show(guide, a_box(), PODS)
    assert "This is shown." in written(guide)
    assert guide.wrong == ["cannot do it"]
    assert tour.tell(guide, took_s=95) == 1
    assert tour.tell(a_guide(), took_s=95) == 0


def test_a_command_that_fails_is_an_error_with_its_words():
    with pytest.raises(StepError, match="status 3") as raised:
        type_in(["sh", "-c", "echo so it is >&2; exit 3"])
    assert "so it is" in str(raised.value)


def test_what_is_shown_as_a_command_is_that_command():
    guide = a_guide()
    words = ["e2e/box", "exec", "azbox-cp", "--", "promtool", "sum by (node) (x)", "a-word-that-is-long" * 4]
    guide.paper.command(words)
    shown = written(guide).replace("\\\n", " ").strip().removeprefix("$ ")
    assert shlex.split(shown) == words
    assert all(len(line) <= guide.paper.width for line in written(guide).splitlines())


def test_lines_are_cut_at_the_width_and_bold_only_on_a_terminal():
    guide = a_guide()
    guide.paper.output("x" * 500)
    guide.paper.heading("Nodes")
    cut, _, heading = written(guide).splitlines()
    assert len(cut) == guide.paper.width
    assert cut.endswith("...")
    assert heading == "Nodes"


def test_columns_of_kubectl_are_picked_by_their_names():
    table = "NAME   IP         NODE     NOMINATED NODE   AGE\na      10.0.0.1   vm1      <none>           5m\n"
    assert pick(table, ("NAME", "NODE", "AGE")) == "NAME   NODE     AGE\na      vm1      5m"


def test_tables_are_aligned_as_those_of_kubectl():
    assert aligned([("NAME", "N"), ("azbox-vm1", 10)]) == "NAME        N\nazbox-vm1   10"


def test_the_quota_is_shown_as_kubectl_shows_it():
    table = "NAME         LIMIT   GRANTED   ASSIGNED   NODES   EXHAUSTED   AGE\nazbox-vnet   16000   64 20 2 False 12s"
    quota = {"spec": {"limit": 16000}, "status": {"granted": 64}}
    box = a_box(
        kubectl_json=lambda *_: {"items": [quota]},
        azure=lambda _, path: [] if path == "/nics" else {},
        nodes=(),
    )
    guide = a_guide({"vnetquotas": table})
    addresses.show_quota(guide, box, PODS)
    assert table.splitlines()[0] in written(guide)


@pytest.mark.parametrize(
    ("value", "said"), [(0.7, "0.7 (aim: at most 0.7, met)"), (0.71, "aim: at most 0.7, missed on")]
)
def test_a_figure_says_whether_its_aim_was_met(value: float, said: str):
    assert said in judged(value, aim=0.7)
