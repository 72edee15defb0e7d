"""`azure-cni test` on the box: it proves a network that works, finds one that does not, and leaves nothing behind."""

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from azurebox import clusterdns, release
from azurebox.client import Box
from azurebox.controlplane import command_line, people_environment
from azurebox.fabric.topology import INTERNET_HOST
from azurebox.steps import StepError
from scenarios.harness.commandline import ask
from scenarios.harness.node import Node
from scenarios.harness.product import Product

NAMESPACE = "azure-cni-test"
PROMISED_S = 120.0
"""docs/command-line.md"""
WITHIN_S = 300.0
GONE_S = 120.0
TESTED = {
    "NodeToPod", "PodToPod", "PodToPodAcrossNodes", "PodToNode", "Service", "Dns", "Outbound", "MetadataRefused",
    "WireserverRefused",
}  # fmt: skip
BLOCK = """table ip scenario {
    chain forward { type filter hook forward priority 10; tcp dport 8080 drop; }
}
"""


@pytest.fixture(scope="module", autouse=True)
def _dns(box: Box, product: Product) -> Iterator[None]:
    product.await_ready()
    clusterdns.apply()
    try:
        rollout = ("rollout", "status", f"deployment/{clusterdns.NAME}", "-n", clusterdns.NAMESPACE)
        box.kubectl(*rollout, f"--timeout={WITHIN_S:.0f}s")
        yield
    finally:
        clusterdns.withdraw()


def test_a_network_that_works_is_proved_in_two_minutes_and_nothing_stays(box: Box, tmp_path: Path) -> None:
    file = tmp_path / "results.xml"
    outbound = f"http://{INTERNET_HOST.address}/whoami"
    done = ask("test", "--outbound", outbound, "--junit", str(file), "-o", "json", within_s=WITHIN_S)
    assert done.code == 0, done.printed + done.complaint
    found = done.document
    assert {one["result"] for one in found["checks"]} == {"good"}
    assert {one["code"] for one in found["checks"]} == TESTED
    assert found["seconds"] < PROMISED_S
    assert ET.parse(file).getroot().attrib["tests"] == str(len(found["checks"]))
    gone(box)


def test_what_is_cut_off_is_found_and_told_apart(box: Box, nodes: list[Node]) -> None:
    gone(box)
    assert nodes[1].ask(["nft", "-f", "-"], stdin=BLOCK).status == 0
    try:
        chosen = [word for node in nodes[:2] for word in ("--node", node.name)]
        done = ask("test", *chosen, "-o", "json", within_s=WITHIN_S)
    finally:
        nodes[1].run("nft", "delete", "table", "ip", "scenario")
    bad = {one["code"] for one in done.document["checks"] if one["result"] == "bad"}
    assert (done.code, bad) == (1, {"PodToPodAcrossNodes", "Service"}), done.printed
    gone(box)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_test_that_is_interrupted_cleans_up(box: Box, number: signal.Signals) -> None:
    gone(box)
    with subprocess.Popen(
        command_line("test", "-o", "json"), env=people_environment(), stdout=subprocess.PIPE, text=True
    ) as running:
        box.wait_for(lambda: pods(box), WITHIN_S, "the test to have pods")
        running.send_signal(number)
        printed, _ = running.communicate(timeout=WITHIN_S)
    assert (running.returncode, json.loads(printed)["unfinished"]) == (3, f"interrupted by {number.name}")
    gone(box)


def test_what_a_killed_one_left_is_removed_by_hand(box: Box) -> None:
    gone(box)
    with subprocess.Popen(command_line("test"), env=people_environment(), stdout=subprocess.PIPE) as running:
        box.wait_for(lambda: pods(box), WITHIN_S, "the test to have pods")
        running.kill()
    assert "another test runs there" in ask("test").printed
    assert ask("test", "--clean").code == 0
    gone(box)


def test_helm_test_runs_it_in_a_pod_with_rights_that_are_gone_afterwards(box: Box) -> None:
    said = box.helm("test", release.NAME, "-n", release.NAMESPACE, "--logs")
    assert said.count("Phase:          Succeeded") == hooks_of(box)
    assert re.search(r"^√ .* reaches a pod of node .* \[PodToPodAcrossNodes\]$", said, re.MULTILINE), said
    assert re.search(r"^√ [0-9]+ good, 0 bad, in ", said, re.MULTILINE), said
    kinds = "namespaces,serviceaccounts,roles,clusterroles,rolebindings,clusterrolebindings"
    left = box.kubectl("get", kinds, "-A", "-o", "name")
    assert [one for one in left.split() if one.endswith("azure-cni-test-network")] == []


def hooks_of(box: Box) -> int:
    """How many objects helm makes for its test."""
    hooks = box.helm("get", "hooks", release.NAME, "-n", release.NAMESPACE)
    return sum(one is not None for one in yaml.safe_load_all(hooks))


def pods(box: Box) -> list[Any]:
    found: list[Any] = box.kubectl_json("get", "pods", "-n", NAMESPACE)["items"]
    return found


def gone(box: Box) -> None:
    """The namespace, and all that was in it."""

    def is_gone() -> bool:
        left = box.kubectl("get", "namespace", NAMESPACE, "--ignore-not-found", "-o", "name")
        if left:
            raise StepError("not yet", output=left)
        return True

    box.wait_for(is_gone, GONE_S, f"{NAMESPACE} to be gone")
