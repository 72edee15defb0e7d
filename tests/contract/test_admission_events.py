"""What the chart's policy on an agent's events refuses, on a real API server."""

from __future__ import annotations

from contract.admission_world import EVENTS, Admission, event


async def test_an_agents_events_are_about_pods_its_node_and_its_pool(admission: Admission) -> None:
    async def reported(kind: str, name: str) -> int:
        return await admission.agent("POST", EVENTS, event(kind, name))

    mine = [("Pod", "web-1"), ("Node", "vm1"), ("NodeIPPool", "vm1")]
    others = [("Node", "vm2"), ("NodeIPPool", "vm2"), ("Secret", "vm1"), ("", "")]
    assert [await reported(*about) for about in mine] == [201] * len(mine)
    assert [await reported(*about) for about in others] == [403] * len(others)
