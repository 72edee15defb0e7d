"""`azure-cni` against the real state: what it says of a cluster that is well, of pods that wait, and of the past."""

import time
from datetime import UTC, datetime
from typing import Any

from azurebox.client import Box
from azurebox.steps import StepError
from scenarios.harness.commandline import ask, ask_until
from scenarios.harness.node import AT_REST, Node
from scenarios.harness.pods import NAMESPACE, on_nodes, servers
from scenarios.harness.pods import ask as pod_asks
from scenarios.harness.product import Product

STEP_S = 90.0
LAG_S = 61.0
"""An address that changed hands within the last minute does not differ."""


def now() -> str:
    """In whole seconds, as the audit trail has it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_cluster_that_is_well_has_nothing_wrong_and_all_four_sides_agree(
    box: Box, nodes: list[Node], product: Product
) -> None:
    product.await_ready()
    with servers(box, "seen", node=nodes[0].name, replicas=3) as seen:
        pods = seen.pods()
        found = ask_until(box, lambda answer: not answer["findings"], "status", within_s=STEP_S)
        assert {row["node"] for row in found["nodes"]} == {node.name for node in nodes}
        assert ask("status").code == 0
        time.sleep(LAG_S)
        checked = ask("addresses", "--check", "-o", "json")
        assert checked.code == 0, checked.printed
        assigned = {row["address"]: row["pod"] for row in checked.document["addresses"] if row["state"] == "assigned"}
        assert {str(pod.address): f"{NAMESPACE}/{pod.name}" for pod in pods}.items() <= assigned.items()
        for pod in pods:
            who = ask("who", str(pod.address), "-o", "json").document
            (one,) = who["present"]
            assert (one["name"], one["node"]) == (f"{NAMESPACE}/{pod.name}", nodes[0].name)
            (why,) = ask("why", pod.name, "-n", NAMESPACE, "-o", "json").document
            assert (why["cause"], why["healthy"]) == ("Addressed", True)
        primary = ask("who", str(nodes[0].primary())).printed
        assert f"is the primary address of node {nodes[0].name}" in primary


def test_a_pod_that_waits_for_a_paused_pool_learns_so_and_the_command_mends_it(box: Box, nodes: list[Node]) -> None:
    node = nodes[0]
    node.want(paused=True)
    try:
        with servers(box, "waits", node=node.name) as waits:
            waits.scale(40)
            answers = ask_until(
                box, lambda all_: any(one["cause"] == "PoolPaused" for one in all_), "why", "-n", NAMESPACE,
                within_s=STEP_S,
            )  # fmt: skip
            why = next(one for one in answers if one["cause"] == "PoolPaused")
            assert (why["node"], why["actor"]) == (node.name, "the cluster's administrator")
            assert why["since"]
            status = ask("status", "-o", "json")
            assert status.code == 1
            assert "PoolPaused" in {one["code"] for one in status.document["findings"]}
            plan = ask("plan", node.name, "-o", "json").document
            assert plan["write"]["waits"] == ["the pool is paused (spec.paused)"]
            mended = ask(*why["command"].split()[1:])
            assert mended.code == 0, mended.printed
            waits.ready(40)
    finally:
        node.want()


def test_a_pod_that_waits_for_the_quota_learns_which(box: Box, nodes: list[Node]) -> None:
    (quota,) = box.kubectl_json("get", "vnetquotas")["items"]
    name, limit = quota["metadata"]["name"], quota["spec"]["limit"]
    for node in nodes:
        node.want(size=8)
    try:
        box.wait_for(lambda: _lower(box, name, 20), STEP_S, "the limit to fit what is held")
        nodes[0].want(minFree=8, maxFree=24, batch=16)
        with servers(box, "waits", node=nodes[0].name) as waits:
            waits.scale(30)
            answers = ask_until(
                box, lambda all_: any(one["cause"] == "QuotaExceeded" for one in all_), "why", "-n", NAMESPACE,
                within_s=STEP_S,
            )  # fmt: skip
            why = next(one for one in answers if one["cause"] == "QuotaExceeded")
            assert why["command"].startswith(f"kubectl patch vnetquota {name} --type=merge ")
            assert ask("status").code == 1
    finally:
        _lower(box, name, limit)
        for node in nodes:  # a pool that was given another's idle addresses keeps a number that is no rest
            node.want(size=AT_REST.allocated)
        for node in nodes:
            node.shows(AT_REST, within_s=STEP_S)
            node.want()


def test_who_had_an_address_survives_the_pod_the_agent_and_the_node(
    box: Box, nodes: list[Node], product: Product
) -> None:
    node = nodes[0]
    with servers(box, "past", node=node.name, replicas=1) as past:
        (pod,) = past.pods()
        time.sleep(2)
        while_it_ran = now()
        product.restart(node)
        product.await_ready()
        kept = ask("who", str(pod.address), "--at", while_it_ran, "-o", "json").document
        assert [one["pod"] for one in kept["history"]["tenures"]] == [pod.name]
    time.sleep(3)
    after = now()
    box.reboot(node.name)
    box.kubectl("wait", "node", node.name, "--for=condition=Ready", "--timeout=180s")
    product.await_ready()

    def told() -> dict[str, Any] | None:
        answer = ask("who", str(pod.address), "--at", while_it_ran, "-o", "json")
        return answer.document if answer.code == 0 else None

    found = box.wait_for(told, STEP_S, "the new agent to answer", poll_s=2.0)
    (one,) = found["history"]["tenures"]
    assert (one["pod"], one["uid"], one["node"]) == (pod.name, pod.uid, node.name)
    assert not one.get("endNotBefore"), "its end was seen"
    later = ask("who", str(pod.address), "--at", after, "-o", "json")
    assert pod.name not in [one["pod"] for one in later.document["history"]["tenures"]]


def test_what_trace_says_is_what_the_far_end_sees(box: Box, nodes: list[Node], product: Product) -> None:
    product.await_ready()
    with (
        servers(box, "traced", node=nodes[0].name, replicas=2) as near,
        servers(box, "target", node=nodes[1].name, replicas=1) as far,
    ):
        (source, neighbour), (target,) = near.pods(), far.pods()
        ends = {
            f"{NAMESPACE}/{neighbour.name}": f"{neighbour.address}:8080",
            f"{NAMESPACE}/{target.name}": f"{target.address}:8080",
            **{f"{one.address}:8080": f"{one.address}:8080" for one in on_nodes(box)},
        }
        answers = pod_asks(box, source, [f"{end}/clientip" for end in ends.values()])
        for named, end in ends.items():
            said = ask("trace", f"{NAMESPACE}/{source.name}", named, "-o", "json")
            assert said.code == 0, said.complaint
            (one,) = said.document["traces"]
            assert one["seenAs"] == answers[f"{end}/clientip"].rpartition(":")[0]
        refused = ask("trace", f"{NAMESPACE}/{source.name}", "168.63.129.16:80", "-o", "json")
        assert (refused.code, refused.document["traces"][0]["result"]) == (1, "refused")
        assert pod_asks(box, source, ["168.63.129.16:80/"])["168.63.129.16:80/"].startswith("!")


def _lower(box: Box, quota: str, limit: int) -> bool:
    try:
        box.kubectl("patch", "vnetquota", quota, "--type=merge", "-p", f'{{"spec":{{"limit":{limit}}}}}')
    except StepError:
        return False
    return True
