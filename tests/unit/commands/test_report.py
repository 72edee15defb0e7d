"""`azure-cni report`: what the archive has, what it leaves out, and that it says so."""

from __future__ import annotations

import json
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from azure_cni.api.introspection import AttachmentReport, NodeReport, SlotReport, encode_report
from azure_cni.commands import gathering, program_reads, report
from azure_cni.commands.gathering import EVENTS
from azure_cni.commands.reads import NODES, PODS, POOLS
from azure_cni.entrypoints.cli import main
from azure_cni.errors import KubeUnreachable
from fakes.cluster_access import FakeClusterAccess
from unit.diagnose.clusters import cluster, condition, event, pod, pool, process

AGENT, CONTROLLER = "azure-cni-agent-vm1", "azure-cni-controller-vm1"
GUID = "3f2504e0-4f89-11d3-9a0c-0305e82c3301"
TENANTS = ("cart-7d9f", "ended-3", "secret-app", "shop", GUID, "hunter2", "someone")


def full_cluster() -> FakeClusterAccess:
    """Tenants' names wherever one may stand."""
    said = f"pod shop/cart-7d9f waits: {GUID}"
    mine = pod("cart-7d9f")
    mine["metadata"]["namespace"] = "shop"
    noted = pool("vm1", condition("Ready", False, "SubnetFull", said), nicID=f"/subscriptions/{GUID}/nic")
    noted["metadata"]["annotations"] = {"owner": "someone"}
    agent = process("agent")
    agent["spec"]["containers"] = [
        {
            "image": "registry/azure-cni:1",
            "env": [
                {"name": "AZURE_CNI_MODE", "value": "bridge"},
                {"name": "AZURE_CNI_EGRESS_NAMESPACES", "value": "secret-app"},
                {"name": "HTTPS_PROXY", "value": "http://u:hunter2@proxy"},
            ],
        }
    ]
    events = [event("vm1", "SubnetFull", said, kind="NodeIPPool"), event("web", "Other", "of a pod", kind="Pod")]
    access = cluster(mine, pools=[noted], events=events, processes=[agent, process("controller")])
    access.objects[program_reads.POLICIES] = [{"metadata": {"namespace": "shop", "name": "secret-app"}}]
    slot = SlotReport(address="10.240.0.36", namespace="shop", pod="ended-3", uid=GUID)
    access.printed[AGENT] = encode_report(NodeReport(node="vm1", slots=[slot]))
    access.logs[AGENT] = '{"message": "address assigned", "pod": "shop/cart-7d9f"}\nproxy http://u:hunter2@proxy\n'
    access.logs[CONTROLLER] = f"granted /subscriptions/{GUID}/nic\n"
    return access


def run(access: FakeClusterAccess, target: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["report", "-f", str(target), *words], obj=access, catch_exceptions=False)


def contents(target: Path) -> dict[str, str]:
    """The files' texts, by name without the folder."""
    with tarfile.open(target) as archive:
        found = {}
        for member in archive.getmembers():
            file = archive.extractfile(member)
            assert file is not None
            found[member.name.partition("/")[2]] = file.read().decode()
    return found


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "report.tar.gz"


def test_the_archive_has_what_a_bug_report_needs(target: Path):
    done = run(full_cluster(), target)
    assert done.exit_code == 0, done.stdout
    files = contents(target)
    assert set(files) == {
        "contents.json", "status.json", "check.json", "nodes.json", "nodeippools.json", "vnetquotas.json",
        "processes.json", "events.json", "agents/vm1.json", f"logs/{AGENT}.log", f"logs/{CONTROLLER}.log",
    }  # fmt: skip
    assert json.loads(files["status.json"])["findings"][0]["code"] == "SubnetFull"
    (one,) = json.loads(files["events.json"])
    assert (one["kind"], one["name"], one["reason"]) == ("NodeIPPool", "vm1", "SubnetFull")
    settings = {one["name"]: one["settings"] for one in json.loads(files["processes.json"])}[AGENT]
    assert settings == {"AZURE_CNI_MODE": "bridge", "AZURE_CNI_EGRESS_NAMESPACES": "[left out]"}
    assert json.loads(files["agents/vm1.json"])["slots"][0]["address"] == "10.240.0.36"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_it_says_what_check_says(target: Path):
    access = full_cluster()
    said = CliRunner().invoke(main, ["check", "-o", "json"], obj=access, catch_exceptions=False)
    run(access, target)
    codes = [one["code"] for one in json.loads(contents(target)["check.json"])["checks"]]
    assert codes == [one["code"] for one in json.loads(said.stdout)["checks"]]
    assert "PodsBeyondPool" in codes


def test_no_name_of_a_tenant_and_no_credential_is_anywhere_in_it(target: Path):
    run(full_cluster(), target)
    for name, text in contents(target).items():
        assert [word for word in TENANTS if word in name + text] == [], name


def test_a_pod_that_only_asks_for_an_attachment_has_another_word_too(target: Path):
    access = full_cluster()
    asks = AttachmentReport(namespace="lately", pod="deleted-1", message="deleted-1 of lately waits")
    access.printed[AGENT] = encode_report(NodeReport(node="vm1", attachments=[asks]))
    run(access, target)
    said = contents(target)["agents/vm1.json"]
    assert "deleted-1" not in said
    assert "lately" not in said


def test_the_directory_of_the_person_who_made_it_is_not_in_it(target: Path):
    answer = json.loads(run(full_cluster(), target, "-o", "json").stdout)
    assert answer["archive"] == str(target)
    assert [name for name, text in contents(target).items() if str(target.parent) in text] == []


def test_a_log_is_cut_between_lines(target: Path, monkeypatch: pytest.MonkeyPatch):
    """The rest of a credential, without what it begins with, would not be known as one."""
    access = full_cluster()
    secret = "AccountKey=" + "a" * 40
    access.logs[AGENT] = f"{secret} {'b' * 10}\nthe last line\n"
    monkeypatch.setattr(gathering, "LOG_BYTES", 40)
    run(access, target)
    assert contents(target)[f"logs/{AGENT}.log"] == "the last line\n"


def test_one_pod_has_the_same_word_in_all_files(target: Path):
    run(full_cluster(), target)
    files = contents(target)
    (waiting,) = json.loads(files["nodeippools.json"])
    message = waiting["status"]["conditions"][0]["message"]
    assert message.startswith("pod namespace-1/pod-")
    words = message.split(" ")[1]
    assert words in files["events.json"]
    assert words in files[f"logs/{AGENT}.log"]


def test_the_answer_lists_the_files_and_how_many_names_were_replaced(target: Path):
    answer = json.loads(run(full_cluster(), target, "-o", "json").stdout)
    listed = {one["name"]: one["size"] for one in answer["files"]}
    assert listed == {name: len(text.encode()) for name, text in contents(target).items() if name != "contents.json"}
    assert answer["replaced"] == {"pods": 3, "namespaces": 1, "identifiers": 1}
    assert json.loads(contents(target)["contents.json"]) == answer | {"archive": target.name}


def test_what_could_not_be_read_is_named_and_is_no_success(target: Path):
    access = full_cluster()
    access.denied.update({EVENTS, f"/api/v1/namespaces/kube-system/pods/{CONTROLLER}/log"})
    access.printed[AGENT] = KubeUnreachable("cannot run it: no answer about shop/cart-7d9f")
    done = run(access, target)
    assert done.exit_code == 3
    unread = json.loads(contents(target)["contents.json"])["unread"]
    assert len(unread) == 3, "each once"
    assert all(word in " ".join(unread) for word in ("events", "/log", "node vm1"))
    assert "no answer about namespace-1/pod-1" in done.stdout


def test_without_the_names_to_leave_out_nothing_is_written(target: Path):
    access = full_cluster()
    access.denied.add(PODS)
    done = run(access, target)
    assert done.exit_code == 3
    assert "the names of pods to leave out are not known" in done.stderr
    assert not target.exists()


def test_a_file_that_exists_is_not_overwritten(target: Path):
    target.write_text("mine")
    assert run(full_cluster(), target).exit_code == 2
    assert target.read_text() == "mine"
    assert run(full_cluster(), target.parent / "no" / "such" / "x.tar.gz").exit_code == 2


def test_a_container_that_restarted_shows_its_log_from_before(target: Path):
    access = full_cluster()
    (agent, *_) = access.objects[PODS]
    agent["status"]["containerStatuses"][0]["restartCount"] = 2
    access.logs[f"{AGENT}:previous"] = "Traceback: shop/cart-7d9f\n"
    assert run(access, target).exit_code == 0
    assert contents(target)[f"logs/{AGENT}-previous.log"] == "Traceback: namespace-1/pod-1\n"


def many_nodes() -> FakeClusterAccess:
    names = [f"vm{number}" for number in range(1, 6)]
    wrong = condition("Ready", False, "SubnetFull", "full")
    access = cluster(
        pools=[pool(name, *([wrong] if name == "vm5" else [])) for name in names],
        processes=[process("agent", name) for name in names],
    )
    for name in names:
        access.printed[f"azure-cni-agent-{name}"] = encode_report(NodeReport(node=name))
        access.logs[f"azure-cni-agent-{name}"] = "".join(f"line {number}\n" for number in range(50))
    return access


def test_it_is_bounded_and_says_what_is_not_in_it(target: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gathering, "MOST_NODES", 2)
    monkeypatch.setattr(gathering, "LOG_BYTES", 64)
    done = run(many_nodes(), target)
    files, told = contents(target), json.loads(contents(target)["contents.json"])
    assert sorted(name for name in files if name.startswith("agents/")) == ["agents/vm1.json", "agents/vm5.json"]
    assert told["leftOut"] == ["agents and logs of 3 nodes: vm2, vm3, vm4; name nodes with --node"]
    assert files["logs/azure-cni-agent-vm5.log"].endswith("line 49\n")
    assert {one["name"] for one in told["files"] if one["cut"]} == {f"logs/azure-cni-agent-vm{n}.log" for n in (1, 5)}
    assert "its older part is left out" in done.stdout


def test_what_does_not_fit_is_left_out_whole(target: Path, monkeypatch: pytest.MonkeyPatch):
    access = full_cluster()
    access.logs[AGENT] = "x" * 100_000
    monkeypatch.setattr(report, "ARCHIVE_BYTES", 50_000)
    assert run(access, target).exit_code == 0
    told: dict[str, Any] = json.loads(contents(target)["contents.json"])
    assert told["leftOut"] == [f"logs/{AGENT}.log: the archive is full"]
    assert sum(one["size"] for one in told["files"]) <= 50_000


def test_nodes_are_named_as_elsewhere(target: Path):
    run(many_nodes(), target, "--node", "vm3")
    assert [name for name in contents(target) if name.startswith("agents/")] == ["agents/vm3.json"]
    assert run(many_nodes(), target.parent / "b", "--node", "vm9").exit_code == 3


def test_a_cluster_of_which_little_may_be_seen_still_makes_one(target: Path):
    access = full_cluster()
    access.denied.update({NODES, POOLS})
    done = run(access, target)
    assert done.exit_code == 3
    assert json.loads(contents(target)["nodeippools.json"]) == []
    assert [line for line in done.stdout.splitlines() if "nodeippools" in line and "could not be read" in line]
