"""What the chart's policies keep for people in a pool that an agent makes, on a real API server: a controller that
writes NICs goes by it.
"""

from __future__ import annotations

from typing import Any

import pytest

from azure_cni.kube.pools import COLLECTION
from contract.admission_world import MADE, Admission, pool

NETWORK = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network"


@pytest.mark.parametrize(
    "spec",
    [
        {"nic": {"subnet": f"{NETWORK}/virtualNetworks/vnet/subnets/management"}},
        {"applicationSecurityGroups": [f"{NETWORK}/applicationSecurityGroups/web"]},
    ],
    ids=lambda spec: next(iter(spec)),
)
async def test_an_agent_makes_a_pool_without_what_people_choose(admission: Admission, spec: dict[str, Any]) -> None:
    chosen = pool("vm1") | {"spec": spec}
    assert await admission.agent("POST", COLLECTION, chosen) == 403
    assert await admission.agent("POST", COLLECTION, pool("vm1")) in MADE
    assert await admission.send("DELETE", f"{COLLECTION}/vm1", None) in MADE
    assert await admission.send("POST", COLLECTION, chosen) in MADE
