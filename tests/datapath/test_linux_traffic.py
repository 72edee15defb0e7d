"""The node's table at work in a real kernel: who sees which address, and which connections go on."""

from __future__ import annotations

import socket
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from azure_cni.errors import DatapathError
from datapath.namespaces import IN_EACH_MODE, caller_of
from datapath.node_site import (
    IMDS,
    IMDS_OPEN,
    INTERNET,
    ON_PREM,
    PEER,
    PORT,
    PRIMARY,
    PUBLIC,
    SERVICE,
    TABLE,
    WIRESERVER,
    A,
    B,
    Site,
    service,
)

pytestmark = IN_EACH_MODE


@pytest.mark.parametrize("target", [PEER, ON_PREM, "10.240.0.1"])
async def test_routable_destinations_see_the_pod(site: Site, target: str) -> None:
    await site.machine.datapath.apply_node(TABLE)
    assert site.seen(await site.machine.pod(A), target) == A


async def test_the_internet_sees_the_primary_address_unless_the_pod_has_a_public_one(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    assert site.seen(await site.machine.pod(A), INTERNET) == PRIMARY
    assert site.seen(await site.machine.pod(PUBLIC), INTERNET) == PUBLIC
    assert site.seen(site.node, INTERNET) == PRIMARY


async def test_beyond_the_vnet_a_pod_is_seen_as_itself_from_the_moment_it_may(site: Site) -> None:
    own = frozenset({IPv4Address(A)})
    await site.machine.datapath.apply_node(TABLE)
    pod, other = await site.machine.pod(A), await site.machine.pod(B)
    assert [site.seen(one, INTERNET) for one in (pod, other)] == [PRIMARY, PRIMARY]
    await site.machine.datapath.set_egress(own)
    assert [site.seen(one, INTERNET) for one in (pod, other)] == [A, PRIMARY]
    assert [site.seen(pod, target, port) for target, port in ((PEER, PORT), (WIRESERVER, 53))] == [A, PRIMARY]
    await site.machine.datapath.set_egress(frozenset())
    assert site.seen(pod, INTERNET) == PRIMARY
    await site.machine.datapath.apply_node(replace(TABLE, own_egress=own))
    assert [site.seen(one, INTERNET) for one in (pod, other)] == [A, PRIMARY]


async def test_a_connection_keeps_the_address_with_which_it_began(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    pod = await site.machine.pod(A)
    for before, after, own in ((PRIMARY, A, {IPv4Address(A)}), (A, PRIMARY, set[IPv4Address]())):
        with site.outside.listen(INTERNET, PORT) as listener, pod.socket() as client:
            client.connect((INTERNET, PORT))
            server, (seen, _) = listener.accept()
            await site.machine.datapath.set_egress(frozenset(own))
            with server:
                client.sendall(b"still")
                assert (seen, server.recv(5)) == (before, b"still")
        assert site.seen(pod, INTERNET) == after


async def test_whoever_may_not_be_translated_is_seen_as_he_is(site: Site) -> None:
    """An address that is not in the pool is none of our business."""
    gone = frozenset({IPv4Address(A)})
    await site.machine.datapath.apply_node(replace(TABLE, pool=TABLE.pool - gone, kept=gone))
    assert site.seen(await site.machine.pod(A), INTERNET) == A


@pytest.mark.parametrize("address", [A, PUBLIC])
async def test_imds_and_the_wireserver_see_the_primary_address(site: Site, address: str) -> None:
    await site.machine.datapath.apply_node(IMDS_OPEN)
    pod = await site.machine.pod(address)
    assert site.seen(pod, IMDS, 80) == PRIMARY
    assert site.seen(pod, WIRESERVER, 53) == PRIMARY


async def test_they_see_it_also_where_they_count_as_routable(site: Site) -> None:
    everything = frozenset({IPv4Network("0.0.0.0/1"), IPv4Network("128.0.0.0/1")})
    await site.machine.datapath.apply_node(replace(IMDS_OPEN, routable=everything))
    pod = await site.machine.pod(A)
    assert site.seen(pod, IMDS, 80) == PRIMARY
    assert site.seen(pod, WIRESERVER, 53) == PRIMARY
    assert site.seen(pod, INTERNET) == A


@pytest.mark.parametrize("kube_proxy_first", [True, False])
async def test_a_service_translates_once_whoever_comes_first(site: Site, *, kube_proxy_first: bool) -> None:
    if not kube_proxy_first:
        await site.machine.datapath.apply_node(TABLE)
    caller, backend = await site.machine.pod(A), await site.machine.pod(B)
    with service(site.node, B), backend.listen(B, PORT) as listener:
        if kube_proxy_first:
            await site.machine.datapath.apply_node(TABLE)
        assert caller_of(listener, caller.socket(), (SERVICE, PORT)) == A
        assert caller_of(listener, backend.socket(), (SERVICE, PORT)) == PRIMARY  # itself, by way of its Service
    with service(site.node, INTERNET), site.outside.listen(INTERNET, PORT) as listener:
        assert caller_of(listener, caller.socket(), (SERVICE, PORT)) == PRIMARY
        assert caller_of(listener, site.node.socket(), (INTERNET, PORT)) == PRIMARY


async def test_the_node_reaches_a_service_whose_pod_is_its_own(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    pod = await site.machine.pod(A)
    with service(site.node, A), pod.listen(A, PORT) as listener:
        assert caller_of(listener, site.node.socket(), (SERVICE, PORT)) == PRIMARY


async def test_pods_of_the_node_see_each_other_whatever_is_routable(site: Site) -> None:
    await site.machine.datapath.apply_node(replace(TABLE, routable=frozenset()))
    one, other = await site.machine.pod(A), await site.machine.pod(B)
    with other.listen(B, PORT) as listener:
        assert caller_of(listener, one.socket(), (B, PORT)) == A


async def test_callers_from_outside_reach_the_pod_as_themselves(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    pod = await site.machine.pod(A)
    for source in (PEER, INTERNET, WIRESERVER):  # the last is the load balancer's probe
        with pod.listen(A, PORT) as listener:
            client = site.outside.socket()
            client.bind((source, 0))
            assert caller_of(listener, client, (A, PORT)) == source


async def test_running_connections_survive_a_change_of_the_table(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    pod = await site.machine.pod(A)
    with site.outside.listen(INTERNET, PORT) as listener, pod.socket() as client:
        client.connect((INTERNET, PORT))
        server, (seen, _) = listener.accept()
        with server:
            grown = replace(TABLE, pool=TABLE.pool | {IPv4Address("10.240.0.11")})
            assert (await site.machine.datapath.apply_node(grown)).repaired == ()
            client.sendall(b"still")
            assert (seen, server.recv(5)) == (PRIMARY, b"still")
            server.sendall(b"here")
            assert client.recv(4) == b"here"


async def test_pods_do_not_notice_that_the_primary_address_is_away_for_a_moment(site: Site) -> None:
    """A DHCP client takes it off when it is restarted, and the kernel drops each route that has it as its source."""
    datapath, primary = site.machine.datapath, IPv4Address(PRIMARY)
    await datapath.apply_node(TABLE)
    one, other = await site.machine.pod(A, node_address=primary), await site.machine.pod(B, node_address=primary)
    with other.listen(B, PORT) as listener:
        site.node.ip("address", "delete", f"{PRIMARY}/22", "dev", "eth0")
        assert caller_of(listener, one.socket(), (B, PORT)) == A
        with pytest.raises(DatapathError, match=f"cannot add route {A}/32 src {PRIMARY} to .*Invalid"):
            await datapath.restore_routes(site.machine.spec(A, node_address=primary))

        site.node.ip("address", "add", "10.240.3.3/32", "dev", "lo")  # what the kernel would take, left alone
        site.node.ip("address", "add", f"{PRIMARY}/22", "dev", "eth0")
        site.node.ip("route", "add", "default", "via", "10.240.0.1")
        assert site.seen(one, PEER) == A
        for address in (A, B):
            spec = site.machine.spec(address, node_address=primary)
            assert await datapath.restore_routes(spec) == (f"route {address}/32 src {PRIMARY}",)
            assert await datapath.check(spec) == ()
        assert caller_of(listener, site.node.socket(), (B, PORT)) == PRIMARY


async def test_a_smaller_nic_is_found_out_by_the_pods_that_run(site: Site) -> None:
    """Pods keep the MTU that they were given: connections, also older ones, go on by path MTU discovery."""
    await site.machine.datapath.apply_node(TABLE)
    pod = await site.machine.pod(A)
    assert pod.show("link", "show", "eth0")[0]["mtu"] == 1400
    sent = bytes(200_000)
    with site.outside.listen(PEER, PORT) as listener, pod.socket() as client:
        client.connect((PEER, PORT))
        server, _ = listener.accept()
        with server:
            site.node.ip("link", "set", "eth0", "mtu", "1300")
            site.outside.ip("link", "set", "vm", "mtu", "1300")
            for sender, receiver in ((client, server), (server, client)):
                sender.sendall(sent[:100_000])
                got = 0
                while got < 100_000:
                    got += len(receiver.recv(65536))
            assert client.getsockopt(socket.IPPROTO_IP, 14) == 1300  # IP_MTU of linux/in.h: what its route allows now
