"""Docker's tour fails when what it shows is wrong, and makes and removes only what is its own."""

import io
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from types import SimpleNamespace

import pytest

from azurebox import docker_host, processes
from azurebox.demo import docker_lifetimes, docker_network, workload
from azurebox.demo.docker_stage import NAMES, Stage
from azurebox.demo.guide import Guide
from azurebox.demo.paper import Paper
from azurebox.demo.workload import Pod
from azurebox.docker_host import require_visible
from azurebox.steps import StepError

WEB, CLIENT, THIRD, LAST = "10.240.0.17", "10.240.0.36", "10.240.0.18", "10.240.0.30"
PRIMARIES = ("10.240.0.7", "10.240.0.8")
POD = Pod("demo-pod", "azbox-vm1", IPv4Address("10.240.0.40"))
PUBLIC = "198.51.100.11"
EMPTY = "addresses: 16 allocated, 0 assigned, 16 free, 0 cooling, 16 granted"
JOINED = f"azbox-docker1: ready\n\nCONDITION\n\nADDRESS  STATE\n{WEB}  joined  05c3ca5e1c15  3f0de9d11a3b  web\n"


class Shell:
    """A person's shell: what a command prints, by words that it contains; the last that fits. Keeps what is typed."""

    def __init__(self, answers: Mapping[str, str]) -> None:
        self.answers = answers
        self.typed: list[str] = []

    def __call__(self, words: Sequence[str]) -> str:
        text = " ".join(words)
        self.typed.append(text)
        return next((answer for key, answer in reversed(list(self.answers.items())) if key in text), "")


@dataclass
class Host:
    """A VM with containers that have these addresses, and with what it says of itself."""

    name: str
    containers: dict[str, str]
    says: str = EMPTY
    links: str = "eth0"
    starts: int = 0

    def address(self, container: str, *, network: str) -> str:
        return self.containers[container]

    def status(self) -> str:
        return self.says

    def who(self, address: str) -> str:
        return "container web"

    def run(self, *argv: str) -> str:
        return self.links

    def start_plugin(self) -> None:
        self.starts += 1


def nic(primary: str, *held: str, state: str = "Succeeded") -> dict[str, object]:
    every = [(primary, True), *((address, False) for address in held)]
    entries = [
        {"name": f"c{number}", "properties": {"privateIPAddress": one, "provisioningState": state, "primary": primary}}
        for number, (one, primary) in enumerate(every)
    ]
    return {"properties": {"ipConfigurations": entries}}


def a_stage(*hosts: Host, nics: Sequence[dict[str, object]] = ()) -> Stage:
    one, other = hosts or (Host(NAMES[0], {"web": WEB, "db": LAST}), Host(NAMES[1], {"client": CLIENT}))
    documents = nics or (nic(PRIMARIES[0], WEB, LAST, THIRD), nic(PRIMARIES[1], CLIENT))
    replies = {f"/nics/{name}-nic": document for name, document in zip(NAMES, documents, strict=True)}
    return Stage(SimpleNamespace(azure=lambda _, path: replies[path]), (one, other), POD)


def a_guide(answers: Mapping[str, str]) -> tuple[Guide, Shell]:
    shell = Shell(answers)
    return Guide(Paper(io.StringIO()), run=shell), shell


def caller(address: str) -> str:
    return json.dumps({"host": "somewhere", "caller": address})


@pytest.mark.parametrize(("second", "wrong"), [("ready", 0), ("not ready: no address", 1)])
def test_a_container_can_start_on_both_vms(second: str, wrong: int):
    guide, _ = a_guide({f"{NAMES[0]} -- azure-cni": f"{NAMES[0]}: ready", NAMES[1]: f"{NAMES[1]}: {second}"})
    docker_network.show_process(guide, a_stage())
    assert len(guide.wrong) == wrong


@pytest.mark.parametrize(("driver", "wrong"), [("azure-cni", 0), ("bridge", 1)])
def test_docker_has_the_network(driver: str, wrong: int):
    guide, shell = a_guide({"network ls": f"NETWORK ID     NAME\n05c3ca5e1c15   vnet   {driver}   local\n"})
    docker_network.show_network(guide, a_stage())
    assert len(guide.wrong) == wrong
    assert sum("network create -d azure-cni --ipam-driver azure-cni vnet" in text for text in shell.typed) == 2


@pytest.mark.parametrize(("client", "wrong"), [(CLIENT, 0), (WEB, 1), ("", 1)])
def test_each_container_has_an_address_of_its_own(client: str, wrong: int):
    guide, _ = a_guide({f"{NAMES[0]} -- docker inspect": f"{WEB}\n", f"{NAMES[1]} -- docker inspect": f"{client}\n"})
    docker_network.show_containers(guide, a_stage())
    assert len(guide.wrong) == wrong


@pytest.mark.parametrize(
    ("document", "wrong"),
    [(nic(PRIMARIES[1], CLIENT), 0), (nic(PRIMARIES[1], THIRD), 1), (nic(PRIMARIES[1], CLIENT, state="Updating"), 1)],
    ids=["it is", "it is not", "it is not yet"],
)
def test_the_address_of_a_container_is_on_the_nic_of_its_vm(document: dict[str, object], wrong: int):
    documents = (nic(PRIMARIES[0], WEB), document)
    guide, _ = a_guide({f"{name}-nic": json.dumps(one) for name, one in zip(NAMES, documents, strict=True)})
    docker_network.show_nics(guide, a_stage(nics=documents))
    assert len(guide.wrong) == wrong


@pytest.mark.parametrize(("seen", "wrong"), [(CLIENT, 0), (PRIMARIES[1], 1), ("", 1)])
def test_a_server_must_see_the_container_that_calls(seen: str, wrong: int):
    guide, _ = a_guide({f"exec client wget -qO- http://{WEB}:8080": f"{seen}\n"})
    docker_network.show_container_to_container(guide, a_stage())
    assert len(guide.wrong) == wrong


@pytest.mark.parametrize(("seen", "wrong"), [(THIRD, 0), (WEB, 1), (PRIMARIES[0], 1), ("", 1)])
def test_who_calls_by_name_has_another_address_of_the_pool(seen: str, wrong: int):
    guide, _ = a_guide({"http://web:8080": seen})
    docker_network.show_name(guide, a_stage())
    assert len(guide.wrong) == wrong


@pytest.mark.parametrize(
    ("pod_saw", "web_saw", "wrong"),
    [(CLIENT, POD.address, 0), (PRIMARIES[1], POD.address, 1), (CLIENT, "10.240.0.4", 1)],
)
def test_a_pod_and_a_container_must_see_each_other(pod_saw: str, web_saw: object, wrong: int):
    guide, _ = a_guide(
        {f"http://{POD.address}:8080/clientip": f"{pod_saw}:4321", "kubectl exec demo-pod": str(web_saw)}
    )
    docker_network.show_pod(guide, a_stage())
    assert len(guide.wrong) == wrong


@pytest.mark.parametrize(
    ("premises", "internet", "itself", "wrong"),
    [
        (CLIENT, PUBLIC, PUBLIC, 0),
        (PRIMARIES[1], PUBLIC, PUBLIC, 1),
        (CLIENT, CLIENT, PUBLIC, 1),
        (CLIENT, "198.51.100.99", "198.51.100.99", 1),  # both the same, but not what Azure has for the primary address
    ],
)
def test_the_premises_must_see_the_container_and_the_internet_its_vm(
    premises: str, internet: str, itself: str, wrong: int
):
    answers = {"192.168.50.10": premises, "docker exec client wget -qO- http://203": internet, "busybox": itself}
    guide, _ = a_guide({command: caller(address) for command, address in answers.items()})
    public = {IPv4Address(PRIMARIES[1]): IPv4Address(PUBLIC)}
    docker_network.show_outside(guide, a_stage(), public_addresses=lambda: public)
    assert len(guide.wrong) == wrong


@pytest.mark.parametrize(("after", "seen", "wrong"), [(LAST, CLIENT, 0), (THIRD, CLIENT, 1), (LAST, "", 1)])
def test_a_container_that_names_a_free_address_of_the_nic_has_it_again(after: str, seen: str, wrong: int):
    hosts = Host(NAMES[0], {"web": WEB, "db": after}), Host(NAMES[1], {"client": CLIENT})
    guide, shell = a_guide({f"http://{LAST}:8080": seen})
    docker_lifetimes.show_named_address(guide, a_stage(*hosts))
    assert len(guide.wrong) == wrong
    assert any(f"--ip {LAST} --name db" in text for text in shell.typed)


def test_without_a_free_address_none_is_named():
    with pytest.raises(StepError, match="azbox-docker1 holds no free address"):
        docker_lifetimes.free_address(a_stage(nics=(nic(PRIMARIES[0], WEB), nic(PRIMARIES[1]))))


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record of a plugin that has ended."""
    monkeypatch.setattr(processes, "RECORDS", tmp_path)
    record(f"{NAMES[0]}-{docker_host.PLUGIN}")
    monkeypatch.setattr(docker_lifetimes, "pid_of", lambda _: "57")


def record(name: str) -> None:
    content = {"name": name, "pid": 2**22 + 1, "started": 0, "argv": [], "env": {}, "wrappers": 0}
    (processes.RECORDS / f"{name}.json").write_text(json.dumps(content))


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize(
    ("seen", "status", "wrong"),
    [(CLIENT, JOINED, 0), ("", JOINED, 1), (CLIENT, JOINED.replace("joined", "created"), 1), (CLIENT, EMPTY, 1)],
    ids=["nothing is lost", "traffic is", "its place is", "its address is"],
)
def test_a_killed_process_loses_nothing_and_runs_again(seen: str, status: str, wrong: int):
    stage = a_stage()
    guide, shell = a_guide({"docker exec client wget": seen, "docker status --wait": status})
    docker_lifetimes.show_killed_process(guide, stage)
    assert len(guide.wrong) == wrong
    assert any(f"{NAMES[0]} -- sh -c kill -9 57" in text for text in shell.typed)
    assert stage.one.starts == 1


@pytest.mark.usefixtures("plugin")
def test_the_process_runs_again_after_a_scene_that_failed():
    def fails(words: Sequence[str]) -> str:
        raise StepError("cannot do it")

    stage = a_stage()
    with pytest.raises(StepError):
        docker_lifetimes.show_killed_process(Guide(Paper(io.StringIO()), run=fails), stage)
    assert stage.one.starts == 1


@pytest.mark.parametrize(
    ("says", "links", "trail", "wrong"),
    [
        (EMPTY, "eth0", "container web", 0),
        (EMPTY.replace("0 assigned", "1 assigned"), "eth0", "container web", 1),
        (EMPTY, "eth0 acni0", "container web", 1),
        (EMPTY, "eth0", "nobody", 1),
    ],
    ids=["all is given back", "an address is not", "a link is left", "nobody knows who had it"],
)
def test_all_addresses_must_come_back(monkeypatch: pytest.MonkeyPatch, says: str, links: str, trail: str, wrong: int):
    monkeypatch.setattr(docker_lifetimes, "SETTLED_WITHIN_S", 0.0)
    one = Host(NAMES[0], {"web": WEB}, says=says, links=links)
    guide, _ = a_guide({f"who {WEB}": trail})
    docker_lifetimes.show_return(guide, a_stage(one, Host(NAMES[1], {})))
    assert len(guide.wrong) == wrong


def test_the_pid_inside_a_vm_is_the_innermost():
    assert docker_lifetimes.pid_inside("Name:\tpython\nNSpid:\t91234\t57\nThreads:\t3\n") == "57"


@pytest.mark.parametrize("place", ["/tmp/azure-cni", "/opt/azure-cni", "/var/lib/azure-cni", "/run/azure-cni"])
def test_what_vms_do_not_see_is_refused(place: str):
    with pytest.raises(StepError, match=place) as raised:
        require_visible(Path("/root/.cache"), Path(place))
    assert "your home" in raised.value.advice


def test_what_vms_see_is_not():
    require_visible(Path("/root/azure-cni"), Path("/home/me/.cache/azure-cni-box"))


def test_the_vms_with_docker_are_found_by_their_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processes, "RECORDS", tmp_path)
    for name in ("azbox-vm1", "azbox-vm1-dockerd", "azbox-docker1", "azbox-docker1-dockerd", "azbox-docker12"):
        record(name)
    assert sorted(host.name for host in docker_host.all_hosts()) == ["azbox-docker1", "azbox-docker12"]


def test_commands_of_a_vm_come_after_what_its_package_brings():
    """azure-cni of the Debian package, in a VM that has both."""
    assert processes.ENVIRONMENT["PATH"].split(":")[-1] == docker_host.COMMANDS


def test_a_pod_beside_the_tour_is_gone_afterwards_whatever_happens():
    done: list[tuple[str, ...]] = []

    def kubectl(*words: str) -> str:
        done.append(words)
        return ""

    ready = {
        "metadata": {"name": "demo-pod"},
        "spec": {"nodeName": "azbox-vm1"},
        "status": {"podIP": str(POD.address), "conditions": [{"type": "Ready", "status": "True"}]},
    }
    box = SimpleNamespace(nodes=["azbox-vm1"], kubectl=kubectl, apply=lambda *_: "", kubectl_json=lambda *_: ready)
    with suppress(StepError), workload.one_pod(box, "demo-pod") as pod:
        assert pod == POD
        done.clear()
        raise StepError("cannot go on")
    assert done == [("delete", "pod", "demo-pod", "--wait=false")]
