"""Pairs of nodes on a wire, with pods that the product's own code or the plugin ptp has wired.

    node 0  eth0 ─────────── eth0  node 1        the wire is a veth: it takes nearly no time, so what a node does with
     ├ pod 10.240.1.5               └ pod        a packet shows as much as it can
     └ pod 10.240.1.6                 10.240.2.5

Every pair is in namespaces of its own, so no rule of one sees a packet of another. All nodes have a table as kube-proxy
makes it (mode nftables): what it and conntrack cost, every node of a cluster pays, with whatever plugin.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from azure_cni.datapath.node_table import NodeTable
from azure_cni.ipam.address_state import LinkParameters, Sandbox
from azure_cni.linux.datapath import LinuxDatapath
from azure_cni.model.identity import ModeName
from azure_cni.node.ports import SandboxSpec
from bench.node import CALL_TIMEOUT_S, BenchError
from datapath.namespaces import Namespace, Namespaces

MTU = 1500
PODS = {"10.240.1.5": 0, "10.240.1.6": 0, "10.240.2.5": 1}
"""The nodes that pods are on. The first calls the others."""
SUBNET = IPv4Network("10.240.0.0/16")
ONE_NODE, ACROSS = "one node", "across nodes"

KUBE_PROXY = """table ip kube-proxy {
    map service-ips {
        typeof ip daddr . meta l4proto . th dport : verdict
        elements = { 10.96.0.1 . tcp . 443 : goto service, 10.96.0.10 . udp . 53 : goto service }
    }
    map no-endpoint-services {
        typeof ip daddr . meta l4proto . th dport : verdict
    }
    chain service {
        meta l4proto { tcp, udp } dnat to 10.240.3.99
    }
    chain services {
        ip daddr . meta l4proto . th dport vmap @service-ips
    }
    chain nat-prerouting {
        type nat hook prerouting priority dstnat
        jump services
    }
    chain nat-output {
        type nat hook output priority -100
        jump services
    }
    chain nat-postrouting {
        type nat hook postrouting priority srcnat
        meta mark & 0x4000 != 0 masquerade fully-random
    }
    chain filter-forward {
        type filter hook forward priority -110
        ct state new ip daddr . meta l4proto . th dport vmap @no-endpoint-services
    }
    chain filter-output {
        type filter hook output priority -110
        ct state new ip daddr . meta l4proto . th dport vmap @no-endpoint-services
    }
}"""


@dataclass(frozen=True)
class Way:
    """Where traffic goes from, where to, and at which address that is."""

    source: Namespace
    target: Namespace
    address: str


@dataclass
class Pair:
    """Two nodes, and pods once they are wired."""

    namespaces: Namespaces
    nodes: list[Namespace] = field(default_factory=list)
    pods: dict[str, Namespace] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.nodes = [self.namespaces.new("node") for _ in (0, 1)]
        one, two = self.nodes
        ends = f"eth0 mtu {MTU} address {_mac(0)} type veth peer name eth0 mtu {MTU} address {_mac(1)} netns {two.name}"
        one.ip("link", "add", *ends.split())
        for number, node in enumerate(self.nodes):
            node.ip("address", "add", f"{_address(number)}/{SUBNET.prefixlen}", "dev", "eth0")
            node.ip("link", "set", "eth0", "up")
            node.sysctl("net/ipv4/ip_forward", "1")
            node.run("nft", "-f", "-", stdin=KUBE_PROXY)

    def host_to_host(self) -> Way:
        """From one node's own address to the other's."""
        return Way(self.nodes[0], self.nodes[1], str(_address(1)))

    def pod_to_pod(self) -> dict[str, Way]:
        """On a node, and across nodes."""
        caller, near, far = self.pods
        return {
            name: Way(self.pods[caller], self.pods[address], address)
            for name, address in ((ONE_NODE, near), (ACROSS, far))
        }

    async def wire(self, mode: ModeName) -> None:
        """Give the nodes pods as the product does."""
        for number, node in enumerate(self.nodes):
            here = [address for address, where in PODS.items() if where == number]
            datapath = LinuxDatapath(node_netns=node.path)
            try:
                await datapath.apply_node(_table(number, mode, here))
                for address in here:
                    await datapath.attach(self._spec(address, number, mode))
            finally:
                await datapath.close()
            for address in set(PODS) - set(here):  # the fabric brings them to the other NIC
                node.ip("neigh", "add", address, "lladdr", _mac(1 - number), "nud", "permanent", "dev", "eth0")

    def wire_by_ptp(self, directory: Path, scratch: Path) -> None:
        """Give them pods as ptp does, with the same addresses by host-local."""
        for address, number in PODS.items():
            network = IPv4Network(f"{address}/24", strict=False)
            ranges = [[{"subnet": str(network), "rangeStart": address, "rangeEnd": str(network[-2])}]]
            everywhere = [{"dst": "0.0.0.0/0"}]
            ipam = {
                "type": "host-local",
                "dataDir": str(scratch / f"ptp-{number}"),
                "ranges": ranges,
                "routes": everywhere,
            }
            config = {"cniVersion": "1.0.0", "name": "ptp", "type": "ptp", "mtu": MTU, "ipam": ipam}
            pod = self.pods[address] = self.namespaces.new()
            _add(self.nodes[number], directory / "ptp", config, pod)
            self.nodes[1 - number].ip("route", "replace", str(network), "via", str(_address(number)))

    def _spec(self, address: str, number: int, mode: ModeName) -> SandboxSpec:
        pod = self.pods[address] = self.namespaces.new()
        link = LinkParameters(MTU, _address(number), mode)
        return SandboxSpec(Sandbox("azure-cni", pod.name, "eth0"), pod.path, (IPv4Address(address),), link)


def _table(number: int, mode: ModeName, pods: list[str]) -> NodeTable:
    return NodeTable(
        uplink_mac=_mac(number),
        primary=_address(number),
        pool=frozenset(map(IPv4Address, pods)),
        public=frozenset(),
        routable=frozenset({SUBNET}),
        imds_allowed=False,
        mode=mode,
    )


def _add(node: Namespace, plugin: Path, config: Mapping[str, object], pod: Namespace) -> None:
    environment = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": pod.name,
        "CNI_NETNS": pod.path,
        "CNI_IFNAME": "eth0",
        "CNI_PATH": str(plugin.parent),
        "PATH": os.environ.get("PATH", ""),
    }
    command = ["nsenter", f"--net={node.path}", str(plugin)]
    done = subprocess.run(
        command,
        input=json.dumps(config),
        env=environment,
        capture_output=True,
        text=True,
        timeout=CALL_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"{plugin.name} ADD: {done.stdout} {done.stderr}")


def _address(number: int) -> IPv4Address:
    return SUBNET[4 + number]


def _mac(number: int) -> str:
    return f"00:0d:3a:00:00:{number:02x}"
