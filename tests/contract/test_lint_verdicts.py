"""`azure-cni check -f` judges NodeIPPools and VNetQuotas as a real API server does, its CEL rules included."""

from __future__ import annotations

import random
from typing import Any

from azure_cni.commands.reads import POOLS, QUOTAS
from azure_cni.diagnose.manifest_rules import manifest_faults
from azure_cni.errors import KubeInvalid
from azure_cni.kube.client import KubeClient
from contract.kube_world import Place
from unit.chart import crds

NUMBERS = (-1, 0, 1, 4, 8, 16, 23, 24, 40, 250, 251, 500, 501, "8", True, 1.5)
GROUP = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/applicationSecurityGroups/web"
VNET = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v"
OTHERS: dict[str, tuple[Any, ...]] = {
    "mode": ("transparent", "bridge", "overlay", 1),
    "paused": (True, False, "true"),
    "applicationSecurityGroups": ([], [GROUP], ["web"], GROUP, [GROUP, 7]),
    "minfree": (8,),
}
OF_QUOTA: dict[str, tuple[Any, ...]] = {
    "vnetID": (VNET, VNET, VNET, "v", VNET.upper(), VNET + "/x", 7),
    "limit": (0, 1, 65536, 65537, "5"),
    "perNodeLimit": (0, 1, 250, 251),
    "writesPerMinute": (0, 1, 10000, 10001),
    "reserved": (-1, 0, 65536, 65537),
    "limits": (5,),
}
MANY = 300


def some(rng: random.Random, fields: dict[str, tuple[Any, ...]], *, share: float) -> dict[str, Any]:
    return {name: rng.choice(values) for name, values in fields.items() if rng.random() < share}


async def test_the_verdicts_are_those_of_the_api_server(apiserver: Place):
    rng = random.Random(7)
    sizes = dict.fromkeys(("minFree", "maxFree", "batch", "size", "max"), NUMBERS)
    good = dict.fromkeys(("minFree", "maxFree", "batch", "size", "max"), (1, 4, 8, 16, 24, 40, 250))
    specs = [("NodeIPPool", POOLS, some(rng, good, share=0.5)) for _ in range(MANY)]
    specs += [("NodeIPPool", POOLS, some(rng, sizes | OTHERS, share=0.2)) for _ in range(MANY)]
    specs += [
        ("VNetQuota", QUOTAS, some(rng, OF_QUOTA, share=0.3) | rng.choice(({"vnetID": VNET}, {}))) for _ in range(MANY)
    ]
    specs += [("NodeIPPool", POOLS, spec) for spec in (None, {}, [], {"max": None}, {"mode": None})]
    specs += [("VNetQuota", QUOTAS, spec) for spec in (None, {}, {"vnetID": None}, {"vnetID": VNET, "limit": None})]
    specs += [("VNetQuota", QUOTAS, {"vnetID": VNET, "other": None})]
    definitions = {"NodeIPPool": crds.POOLS, "VNetQuota": crds.QUOTAS}
    seen = {"good": 0, "bad": 0}
    async with apiserver.endpoint() as endpoint, KubeClient(endpoint) as admin:
        for kind, path, spec in specs:
            body = {"apiVersion": "azure-cni.io/v1alpha1", "kind": kind, "metadata": {"name": "lint"}, "spec": spec}
            said = ""
            try:
                await admin.create(f"{path}?dryRun=All&fieldValidation=Strict", body)
            except KubeInvalid as error:
                said = str(error)
            found = list(manifest_faults(body, definitions))
            assert bool(found) == bool(said), (spec, found, said)
            seen["bad" if said else "good"] += 1
    assert min(seen.values()) > MANY / 10, seen
