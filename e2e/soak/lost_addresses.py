"""What a pool's message asks of a person about lost addresses, done: pods whose address another node has are deleted.

A tool takes addresses off a NIC, and the other node grows before the agent has asked for them again: Azure gives them
to whoever asks first. Nothing brings such an address back, so the pool names the pods that must be deleted. Whoever
runs the cluster does that, and the run goes on. An address that could have come back is none of these.
"""

from ipaddress import IPv4Address

from scenarios.harness.pods import NAMESPACE
from scenarios.harness.stage import Stage

ASKED = "delete"
"""The word of the condition Drifted, about the pods that it names."""


def delete_pods_as_asked(stage: Stage) -> set[str]:
    """Delete them; returns their names."""
    on_nic = {node.name: node.on_nic() for node in stage.nodes}
    pods: set[str] = set()
    for node in stage.nodes:
        drifted = node.condition("Drifted")
        if drifted["status"] != "True" or ASKED not in drifted["message"]:
            continue
        of_others = set[IPv4Address]().union(*(held for name, held in on_nic.items() if name != node.name))
        gone = of_others - on_nic[node.name]
        pods |= {
            slot.pod.partition("/")[2]
            for slot in node.slots()
            if slot.state == "assigned" and slot.address in gone and slot.pod.startswith(f"{NAMESPACE}/")
        }
    if pods:
        stage.box.kubectl("delete", "pods", "-n", NAMESPACE, "--wait=false", "--ignore-not-found", *sorted(pods))
    return pods
