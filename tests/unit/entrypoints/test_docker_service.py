"""When `azure-cni docker status` calls the VM ready: when `docker run` works, and only then."""

from __future__ import annotations

from typing import Any

import pytest

from azure_cni.api.node_ip_pool import parse
from azure_cni.docker.docker_networks import ANY_POOL
from azure_cni.entrypoints.docker_service import pool_document
from azure_cni.errors import NoAddress
from fakes.docker import PluginHost

pytestmark = pytest.mark.looptime


def shown(host: PluginHost) -> dict[str, Any]:
    return pool_document(parse({}), host.node.node, host.networks)


async def test_a_pool_that_grows_is_not_ready_before_the_first_address_is_there() -> None:
    host = PluginHost()
    host.node.nic.hold()
    async with host.running() as node:
        await node.until(lambda: node.state.forecast.reason == "PoolGrowing")
        document = shown(host)
        assert (document["ready"], document["why"]) == (False, node.state.forecast.message)
        with pytest.raises(NoAddress):
            await host.endpoints.request(ANY_POOL)
        node.nic.finish()
        await node.until(lambda: node.counts.free > 0)
        assert shown(host)["ready"]


async def test_the_last_address_is_followed_by_words_that_name_none_free() -> None:
    """The forecast is a moment old."""
    host = PluginHost()
    async with host.running() as node:
        await node.until(lambda: node.state.forecast.reason == "AddressesFree")
        while node.counts.free:
            await host.endpoints.request(ANY_POOL)
        assert not shown(host)["ready"]
        assert "is free" not in shown(host)["why"].replace("no address is free", "")


async def test_a_plugin_that_only_cni_runtimes_need_is_no_matter_of_dockers() -> None:
    host = PluginHost()
    async with host.running() as node:
        await node.until(lambda: node.counts.free > 0)
        node.state.obstacle = "the plugin portmap is missing in /opt/cni/bin and no pod can start without it"
        assert (shown(host)["ready"], shown(host)["why"]) == (True, "")
        assert await host.endpoints.request(ANY_POOL)
