"""Docker's plugin protocol on the socket: libnetwork's documented calls, and all that a Docker may send out of turn."""

from __future__ import annotations

import asyncio
import json
import stat
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest

from azure_cni.docker.plugin_codec import METHODS
from azure_cni.entrypoints.docker_service import serve_docker
from azure_cni.ipam.sizing import Policy
from azure_cni.linux.datapath import LinuxDatapath
from fakes import waiting
from fakes.docker import FakeDocker, PluginHost, serving
from fakes.nic import FakeNic
from fakes.simulated_node import SimulatedNode

NET = {"NetworkID": "net1"}
ONE = {"NetworkID": "net1", "EndpointID": "ep1"}
NOTHING = {"Address": "", "AddressIPv6": "", "MacAddress": ""}


async def test_the_handshake_names_both_drivers(tmp_path: Path) -> None:
    async with serving(tmp_path, PluginHost()) as docker:
        assert stat.S_IMODE(docker.socket.stat().st_mode) == 0o600
        assert await docker.post("Plugin.Activate") == (200, {"Implements": ["NetworkDriver", "IpamDriver"]})
        assert await docker.post("Plugin.Activate", b"null") == (200, {"Implements": ["NetworkDriver", "IpamDriver"]})
        assert (await docker.call("NetworkDriver.GetCapabilities"))["Scope"] == "local"
        assert await docker.call("IpamDriver.GetCapabilities") == {
            "RequiresMACAddress": False,
            "RequiresRequestReplay": False,
        }
        spaces = await docker.call("IpamDriver.GetDefaultAddressSpaces")
        assert spaces["LocalDefaultAddressSpace"] != spaces["GlobalDefaultAddressSpace"]


async def test_docker_names_the_socket_as_the_host(tmp_path: Path) -> None:
    """Go's client puts the escaped path of the socket into the Host header."""
    async with serving(tmp_path, PluginHost()) as docker:
        reader, writer = await asyncio.open_unix_connection(docker.socket)
        host = str(docker.socket).replace("/", "%2F")
        writer.write(
            f"POST /Plugin.Activate HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: 0\r\n"
            "Accept: application/vnd.docker.plugins.v1.2+json\r\nConnection: close\r\n\r\n".encode()
        )
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["Implements"]
        writer.close()


async def test_a_life_over_the_socket(tmp_path: Path) -> None:
    async with serving(tmp_path, PluginHost()) as docker:
        pool = await docker.create_network()
        started = await docker.start(pool, "ep1")
        assert started["InterfaceName"]["DstPrefix"] == "eth"
        assert started["InterfaceName"]["SrcName"].startswith("acnd")
        on_link, *vnet = started["StaticRoutes"]
        assert on_link == {"Destination": f"{started['Gateway']}/32", "RouteType": 1}
        assert {"Destination": "10.240.0.0/16", "RouteType": 0, "NextHop": started["Gateway"]} in vnet
        assert started["Address"].endswith("/32")
        node = docker.host.node
        (observed,) = await node.datapath.sandboxes()
        assert {str(address) for address in observed.addresses} == {started["Address"].partition("/")[0]}
        assert await docker.call("NetworkDriver.EndpointOperInfo", **ONE) == {"Value": {}}
        assert docker.host.forwarding.admitted == ["eth0"]
        await docker.stop(pool, "ep1", started["Address"])
        assert (node.counts.assigned, node.counts.cooling) == (0, 1)
        assert await node.datapath.sandboxes() == ()
        await docker.call("IpamDriver.ReleaseAddress", PoolID=pool, Address="169.254.1.1")
        await docker.call("NetworkDriver.DeleteNetwork", **NET)
        await docker.call("IpamDriver.ReleasePool", PoolID=pool)
        assert docker.host.networks.ids == ()
        assert ("cni", "NetworkDriver.Join", "0") in node.observer.recorded


async def test_a_container_is_on_the_vnet_once_whatever_its_networks_are(tmp_path: Path) -> None:
    """Another network may have it as soon as the first has let it go."""
    async with serving(tmp_path, PluginHost()) as docker:
        first, second = await docker.create_network("net1"), await docker.create_network("net2")
        started = await docker.start(first, "ep1", sandbox="/s")
        given = (await docker.call("IpamDriver.RequestAddress", PoolID=second))["Address"]
        two = {"NetworkID": "net2", "EndpointID": "ep2"}
        await docker.call("NetworkDriver.CreateEndpoint", **two, Interface=NOTHING | {"Address": given})
        words = await docker.refusal("NetworkDriver.Join", **two, SandboxKey="/s")
        assert "the container is on the VNet already, by network net1" in words
        await docker.call("NetworkDriver.Leave", **ONE)
        assert await docker.call("NetworkDriver.Join", **two, SandboxKey="/s")
        assert started["Address"] != given


async def test_each_link_has_a_gateway_of_its_own(tmp_path: Path) -> None:
    async with serving(tmp_path, PluginHost()) as docker:
        pool = await docker.create_network()
        one, other = await docker.start(pool, "ep1"), await docker.start(pool, "ep2")
        assert one["Gateway"] != other["Gateway"]


async def test_it_may_be_disconnected_and_connected_again_while_it_runs(tmp_path: Path) -> None:
    async with serving(tmp_path, PluginHost()) as docker:
        pool = await docker.create_network()
        started = await docker.start(pool, "ep1")
        await docker.stop(pool, "ep1", started["Address"])
        assert await docker.start(pool, "ep1b")


@pytest.mark.parametrize(
    ("method", "content", "words"),
    [
        ("NetworkDriver.Join", b"{", "truncated"),
        ("NetworkDriver.Join", b"[]", "Expected `object`"),
        ("NetworkDriver.Join", b"{}", "missing required field `NetworkID`"),
        ("NetworkDriver.Join", b"", "Docker repeats without its content a call that was cut off"),
        ("IpamDriver.RequestPool", b"", "Docker repeats without its content a call that was cut off"),
        ("IpamDriver.ReleaseAddress", b"null", "Docker repeats without its content a call that was cut off"),
        ("NetworkDriver.Join", {"NetworkID": "net1"}, "missing required field `EndpointID`"),
        ("NetworkDriver.Join", ONE | {"SandboxKey": "/run/\0"}, "at `$.SandboxKey`"),
        ("NetworkDriver.Join", ONE | {"SandboxKey": "netns/one"}, "at `$.SandboxKey`"),
        ("NetworkDriver.Join", ONE | {"SandboxKey": "/" + "n" * 5000}, "at `$.SandboxKey`"),
        ("NetworkDriver.Join", ONE | {"SandboxKey": 7}, "Expected `str`, got `int` - at `$.SandboxKey`"),
        ("NetworkDriver.Join", ONE | {"EndpointID": "../../etc"}, "at `$.EndpointID`"),
        ("NetworkDriver.Join", ONE | {"EndpointID": "e" * 200}, "at `$.EndpointID`"),
        ("NetworkDriver.Join", ONE | {"EndpointID": "ep1\n"}, "at `$.EndpointID`"),
        ("NetworkDriver.CreateNetwork", NET | {"Options": []}, "at `$.Options`"),
        ("NetworkDriver.CreateNetwork", NET | {"IPv4Data": [7]}, "at `$.IPv4Data[0]`"),
        ("NetworkDriver.DeleteNetwork", b'{"NetworkID": "n\xe9t"}', "cannot read the call"),
        ("IpamDriver.RequestPool", {"V6": "no"}, "at `$.V6`"),
        ("IpamDriver.RequestAddress", {"PoolID": None}, "at `$.PoolID`"),
        ("IpamDriver.ReleaseAddress", b"[" * 5000, "cannot read the call"),
    ],
)
async def test_a_malformed_document_is_refused_in_words(tmp_path: Path, method: str, content: Any, words: str) -> None:
    async with serving(tmp_path, PluginHost()) as docker:
        status, reply = await docker.post(method, content)
        assert status == 400
        assert reply["Err"].startswith(f"cannot read the call of {method}: ")
        assert words in reply["Err"]
        assert docker.host.states() == {}


async def test_what_it_does_not_know_is_not_found(tmp_path: Path) -> None:
    """Docker goes on without: `GwAllocCheck` of Docker 28 is not offered."""
    async with serving(tmp_path, PluginHost()) as docker:
        status, reply = await docker.post("NetworkDriver.GwAllocCheck", {})
        assert (status, reply["Err"]) == (404, "azure-cni does not know POST /NetworkDriver.GwAllocCheck")
        assert (await docker.post("VolumeDriver.Create", {}))[0] == 404


async def test_fields_of_a_newer_docker_are_ignored(tmp_path: Path) -> None:
    async with serving(tmp_path, PluginHost()) as docker:
        for method in METHODS:
            status, _ = await docker.post(method, ONE | {"PoolID": "x", "Tomorrow": {"a": [1]}})
            assert status == 200


@pytest.mark.parametrize(
    ("method", "content", "words"),
    [
        ("NetworkDriver.CreateEndpoint", ONE | {"Interface": NOTHING}, "cannot find network net1"),
        ("NetworkDriver.Join", ONE, "cannot find network net1"),
        ("NetworkDriver.EndpointOperInfo", ONE, "cannot find endpoint ep1 of network net1"),
        ("NetworkDriver.AllocateNetwork", NET, "cannot serve a swarm"),
        ("NetworkDriver.FreeNetwork", NET, "cannot serve a swarm"),
        ("IpamDriver.RequestAddress", {"PoolID": "172.18.0.0/16"}, "azure-cni gave no pool of this name"),
        ("IpamDriver.RequestAddress", {"PoolID": "azure-cni/0.0.0.0/0", "Address": "ten"}, "it is no IPv4 address"),
        ("IpamDriver.RequestAddress", {"PoolID": "azure-cni/0.0.0.0/0", "Address": "10.240.0.250"}, "does not hold it"),
    ],
)
async def test_what_is_unknown_is_refused_in_words(
    tmp_path: Path, method: str, content: dict[str, Any], words: str
) -> None:
    async with serving(tmp_path, PluginHost()) as docker:
        assert words in await docker.refusal(method, **content)


@pytest.mark.parametrize(
    ("method", "content"),
    [
        ("NetworkDriver.DeleteNetwork", NET),
        ("NetworkDriver.Leave", ONE),
        ("NetworkDriver.DeleteEndpoint", ONE),
        ("NetworkDriver.RevokeExternalConnectivity", ONE),
        ("NetworkDriver.DiscoverNew", {"DiscoveryType": 1, "DiscoveryData": {}}),
        ("NetworkDriver.DiscoverDelete", {"DiscoveryType": 1, "DiscoveryData": {}}),
        ("IpamDriver.ReleasePool", {"PoolID": "x"}),
        ("IpamDriver.ReleaseAddress", {"PoolID": "x", "Address": "10.240.0.7"}),
        ("IpamDriver.ReleaseAddress", {"PoolID": "x", "Address": ""}),
    ],
)
async def test_what_ends_something_forgives_that_it_is_not_there(
    tmp_path: Path, method: str, content: dict[str, Any]
) -> None:
    """After a reboot Docker clears up what it remembers."""
    async with serving(tmp_path, PluginHost()) as docker:
        assert await docker.call(method, **content) == {}


async def test_repeats_change_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path, PluginHost()) as docker:
        pool = await docker.create_network()
        assert await docker.create_network() == pool
        given = (await docker.call("IpamDriver.RequestAddress", PoolID=pool))["Address"]
        interface = NOTHING | {"Address": given}
        made = [await docker.call("NetworkDriver.CreateEndpoint", **ONE, Interface=interface) for _ in range(2)]
        joined = [await docker.call("NetworkDriver.Join", **ONE, SandboxKey="/s") for _ in range(2)]
        assert (made[0], joined[0]) == (made[1], joined[1])
        for _ in range(2):
            await docker.stop(pool, "ep1", given)
        assert (docker.host.node.counts.assigned, docker.host.node.counts.cooling) == (0, 1)


async def test_calls_out_of_order_are_refused_and_leave_the_container_alone(tmp_path: Path) -> None:
    async with serving(tmp_path, PluginHost()) as docker:
        pool = await docker.create_network()
        started = await docker.start(pool, "ep1")
        address = started["Address"].partition("/")[0]
        again = {"PoolID": pool, "Address": address}
        assert "its endpoint is deleted" in await docker.refusal("IpamDriver.ReleaseAddress", **again)
        assert "endpoint ep1 of network net1 has it" in await docker.refusal("IpamDriver.RequestAddress", **again)
        assert "container is on it" in await docker.refusal("NetworkDriver.DeleteNetwork", **NET)
        assert "already" in await docker.refusal("NetworkDriver.Join", **ONE, SandboxKey="/elsewhere")
        stranger = {"NetworkID": "net1", "EndpointID": "ep2"}
        interface = NOTHING | {"Address": started["Address"]}
        words = await docker.refusal("NetworkDriver.CreateEndpoint", **stranger, Interface=interface)
        assert "endpoint ep1 of network net1 has 10.240." in words
        assert len(await docker.host.node.datapath.sandboxes()) == 1
        await docker.call("NetworkDriver.DeleteEndpoint", **ONE)  # without a Leave
        assert await docker.host.node.datapath.sandboxes() == ()
        assert "cannot find endpoint" in await docker.refusal("NetworkDriver.Join", **ONE, SandboxKey="/s")


async def test_an_address_of_another_ipam_driver_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, PluginHost()) as docker:
        await docker.create_network()
        interface = NOTHING | {"Address": "172.18.0.2/16"}
        words = await docker.refusal("NetworkDriver.CreateEndpoint", **ONE, Interface=interface)
        assert "172.18.0.2: it was not requested from azure-cni before" in words


@pytest.mark.parametrize("option", ["com.docker.network.endpoint.ifname", "speed"])
async def test_options_of_an_endpoint_that_have_no_effect_are_refused(tmp_path: Path, option: str) -> None:
    """What Docker itself says of an endpoint is none of people's."""
    async with serving(tmp_path, PluginHost()) as docker:
        pool = await docker.create_network()
        given = (await docker.call("IpamDriver.RequestAddress", PoolID=pool))["Address"]
        own = {
            "com.docker.network.endpoint.exposedports": [{"Proto": 6, "Port": 80}],
            "com.docker.network.portmap": None,
            "com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.log_martians=1",
        }
        one = ONE | {"Interface": NOTHING | {"Address": given}}
        words = await docker.refusal("NetworkDriver.CreateEndpoint", **one, Options=own | {option: "wan0"})
        assert f"cannot use driver-opt {option}: " in words
        assert await docker.call("NetworkDriver.CreateEndpoint", **one, Options=own)


async def test_a_container_that_docker_names_keeps_its_address_when_it_is_started_again(tmp_path: Path) -> None:
    async with serving(tmp_path, PluginHost()) as docker:
        pool = await docker.create_network()
        before = (await docker.start(pool, "ep1", name="web"))["Address"]
        await docker.stop(pool, "ep1", before)
        assert (await docker.start(pool, "ep2", name="db"))["Address"] != before
        assert (await docker.start(pool, "ep3", name="web"))["Address"] == before


async def test_many_containers_at_once(tmp_path: Path) -> None:
    async with serving(tmp_path, PluginHost()) as docker:
        pool = await docker.create_network()
        started = await asyncio.gather(*(docker.start(pool, f"ep{number}") for number in range(40)))
        assert len({one["Address"] for one in started}) == 40
        assert len({one["InterfaceName"]["SrcName"] for one in started}) == 40
        ends = (docker.stop(pool, f"ep{number}", one["Address"]) for number, one in enumerate(started))
        await asyncio.gather(*ends)
        assert (docker.host.node.counts.assigned, docker.host.node.counts.cooling) == (0, 40)


async def test_the_next_process_goes_on_with_networks_and_containers(tmp_path: Path) -> None:
    host = PluginHost()
    async with serving(tmp_path, host) as docker:
        pool = await docker.create_network()
        started = await docker.start(pool, "ep1")
    async with serving(tmp_path, PluginHost(before=host)) as docker:
        assert docker.host.networks.ids == ("net1",)
        assert await docker.call("NetworkDriver.EndpointOperInfo", **ONE)
        await docker.stop(pool, "ep1", started["Address"])
        assert docker.host.node.counts.assigned == 0


async def test_a_process_that_is_stopped_answers_who_waits_for_an_address(tmp_path: Path) -> None:
    """Docker tries again for half a minute; the next process must be there by then."""
    nic, socket = FakeNic(), tmp_path / "azure-cni.sock"
    host = PluginHost(SimulatedNode(nic=nic, policy=Policy(min_free=0, batch=1, max_free=1)))
    async with (
        host.node.running() as node,
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as session,
    ):
        docker = FakeDocker(session, host, socket)
        async with AsyncExitStack() as closing:
            serves = asyncio.create_task(
                serve_docker(
                    node.node,
                    socket,
                    networks=host.networks,
                    datapath=cast("LinuxDatapath", node.datapath),
                    clock=node.clock,
                    observer=node.observer,
                    status=dict,
                    extend=lambda _: None,
                    closing=closing,
                    wait_s=50,
                )
            )
            await waiting.until(socket.exists, within_s=60, say=lambda: "no socket")
            request = {"PoolID": "azure-cni/0.0.0.0/0"}
            assert await docker.call("IpamDriver.RequestAddress", **request)
            nic.hold()
            waits = asyncio.create_task(docker.refusal("IpamDriver.RequestAddress", **request))
            await waiting.until(
                lambda: node.demand.waiting(node.stored.ledger) > 0, within_s=60, say=lambda: "nobody waits"
            )
            serves.cancel()
        assert "azure-cni is being stopped" in await waits
