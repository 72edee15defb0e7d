"""Commands that the pages for people name, run in a shell with kubectl on a real API server, as they stand there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import pytest

from contract.person import Shell
from unit.chart.helm import REPOSITORY
from unit.documentation.markdown import blocks

NODE, FRESH = "documented", "documented-fresh"
NIC = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/documented-nic"
ADDRESS = "10.240.0.36"
TAINT = "azure-cni.io/no-free-addresses"
TAINTS = [{"key": key, "effect": "NoSchedule"} for key in (TAINT, "dedicated")]
READY = {"type": "Ready", "status": "True", "reason": "PodsCanStart", "message": "15 addresses are free",
         "lastTransitionTime": "2026-11-28T06:19:20Z"}  # fmt: skip
POOL = "azure-cni.io/v1alpha1", "NodeIPPool"
OBJECTS = [
    {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}, "spec": {"taints": TAINTS}},
    {"apiVersion": "v1", "kind": "Node", "metadata": {"name": FRESH}},
    *({"apiVersion": POOL[0], "kind": POOL[1], "metadata": {"name": name}, "spec": {}} for name in (NODE, FRESH)),
    {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": NODE, "namespace": "default"},
        "spec": {"nodeName": NODE, "containers": [{"name": "c", "image": "none"}]},
    },
]
STATUS = {
    f"nodeippool/{NODE}": {
        "nicID": NIC,
        "vnetAddresses": ["10.240.0.3 azure-cni-1bbbbbbb", f"{ADDRESS} azure-cni-1aaaaaaa"],
        "vnetAttachments": [f"{NIC}/pool"],
        "conditions": [READY],
    },
    f"pod/{NODE} -n default": {"phase": "Running", "podIP": ADDRESS, "podIPs": [{"ip": ADDRESS}]},
}


@pytest.fixture(scope="module")
def person(shell: Shell) -> Iterator[Shell]:
    """A node that was full, with a pool and a pod, and one whose agent has not written anything yet."""
    objects = json.dumps({"apiVersion": "v1", "kind": "List", "items": OBJECTS})
    shell.run("kubectl create -f -", stdin=objects)
    try:
        for what, status in STATUS.items():
            shell.run(f"kubectl patch {what} --subresource=status --type=merge -p '{json.dumps({'status': status})}'")
        yield shell
    finally:
        shell.run("kubectl delete --force --grace-period=0 --wait=false -f -", stdin=objects)


def command(page: str, words: str, names: Mapping[str, str] | None = None) -> str:
    """The block of that page that has these words, with the names of this case."""
    (found,) = (block.text for block in blocks((REPOSITORY / "docs" / page).read_text()) if words in block.text)
    for name, own in (names or {}).items():
        found = found.replace(name, own)
    return found


def test_the_taint_of_a_network_that_is_gone_is_removed_and_where_there_is_none_nothing_fails(person: Shell) -> None:
    clean = command("uninstall.md", f"{TAINT}-")
    person.run(clean)
    left = {taint["key"] for taint in person.read(f"node/{NODE}")["spec"]["taints"]}
    assert (TAINT in left, "dedicated" in left) == (False, True)
    assert person.run(clean) == ""


def test_what_an_address_belongs_to_is_found_also_beside_a_pool_without_a_status(person: Shell) -> None:
    names = {"ADDRESS": ADDRESS, "nodeippool NODE": f"nodeippool {NODE}"}
    said = person.run(command("operations.md", "status.podIP=ADDRESS", names))
    pods, addresses, nic = said.splitlines()[-3:]
    assert pods.split()[:2] == ["default", NODE]
    assert addresses == f"{NODE} {ADDRESS} azure-cni-1aaaaaaa"
    assert nic == NIC


def test_the_conditions_are_shown_one_in_a_line(person: Shell) -> None:
    whole = command("operations.md", "# which node, and one word why")
    (line,) = (line for line in whole.splitlines() if "jsonpath" in line)
    assert person.run(line.replace("NODE", NODE)) == "Ready=True PodsCanStart: 15 addresses are free\n"


def test_the_pool_of_one_node_is_changed_and_put_back(person: Shell) -> None:
    maximum, free, back = command("operations.md", '{"spec":{"max":96}}', {"NODE": NODE}).splitlines()
    person.run(f"{maximum}\n{free}")
    assert person.read(f"nodeippool/{NODE}")["spec"] == {"max": 96, "minFree": 32, "maxFree": 64}
    person.run(back)
    assert person.read(f"nodeippool/{NODE}")["spec"] == {"minFree": 32, "maxFree": 64}


def test_before_an_uninstall_it_shows_what_pods_have_attached_and_whose_network_they_are_on(person: Shell) -> None:
    assert f"{NIC}/pool" in person.run(command("uninstall.md", "vnetAttachments")).splitlines()  # others may have more
    assert NODE in person.run(command("uninstall.md", "spec.hostNetwork=false"))


def test_a_lease_that_is_not_there_is_no_error(shell: Shell) -> None:
    (line,) = (line for line in command("uninstall.md", "delete lease").splitlines() if "lease" in line)
    shell.run(line)
