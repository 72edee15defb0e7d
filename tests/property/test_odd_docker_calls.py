"""Whatever comes by Docker's socket, in any order: a reply or words, and no address that two endpoints have."""

from __future__ import annotations

import json
from random import Random
from typing import Any, Final

import pytest

from azure_cni.docker.plugin_codec import METHODS, decode
from azure_cni.errors import AzureCniError
from fakes.docker import PluginHost
from property.mutations import mutated, mutated_bytes

pytestmark = pytest.mark.looptime

POOL: Final = "azure-cni/0.0.0.0/0"
DATA: Final = {"AddressSpace": "azure-cni", "Pool": "0.0.0.0/0", "Gateway": "169.254.1.1/32"}
CALLS: Final = 1500


def good(method: str, random: Random) -> dict[str, Any]:
    """A document that Docker could send now, with names that meet again."""
    endpoint = {"NetworkID": f"net{random.randrange(2)}", "EndpointID": f"ep{random.randrange(4)}"}
    address = f"10.240.0.{random.randrange(4, 12)}"
    documents: dict[str, dict[str, Any]] = {
        "NetworkDriver.CreateNetwork": {"NetworkID": endpoint["NetworkID"], "IPv4Data": [DATA], "Options": {}},
        "NetworkDriver.DeleteNetwork": {"NetworkID": endpoint["NetworkID"]},
        "NetworkDriver.CreateEndpoint": endpoint | {"Interface": {"Address": f"{address}/32"}, "Options": {}},
        "NetworkDriver.Join": endpoint | {"SandboxKey": "/s", "Options": {}},
        "IpamDriver.RequestPool": {"AddressSpace": "azure-cni", "Pool": "", "SubPool": "", "V6": False},
        "IpamDriver.RequestAddress": {"PoolID": POOL, "Address": random.choice(["", address]), "Options": {}},
        "IpamDriver.ReleaseAddress": {"PoolID": POOL, "Address": address},
    }
    return documents.get(method, endpoint | {"PoolID": POOL})


@pytest.mark.parametrize("seed", range(3))
async def test_no_call_is_without_an_answer_and_no_address_has_two_holders(seed: int) -> None:
    random, host = Random(seed), PluginHost()
    async with host.node.running() as node:
        await node.until(lambda: node.counts.free > 0)
        answered = 0
        for _ in range(CALLS):
            method = random.choice(list(METHODS))
            document = good(method, random)
            content = json.dumps(mutated(document, random) if random.random() < 0.3 else document).encode()
            try:
                reply = await host.plugin.answer(decode(method, mutated_bytes(content, random)))
            except AzureCniError:
                continue
            json.dumps(reply)
            answered += 1
        assert answered > CALLS / 10
        held = [slot for slot in node.stored.ledger.slots if slot.holder is not None]
        links = {observed.key: observed.addresses for observed in await node.datapath.sandboxes()}
        owners = {node.datapath.key(slot.holder.sandbox): {slot.address} for slot in held if slot.holder is not None}
        assert len(owners) == len(held)
        assert all(links[key] == owners.get(key) for key in links)
