"""Where the contract of the Datapath port is tried on a real kernel: see `datapath_world`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

from azure_cni.datapath import names
from azure_cni.linux.datapath import LinuxDatapath
from azure_cni.model.identity import ModeName
from contract.datapath_world import MTU, PRIMARY, UPLINK_MAC, way_to
from datapath.namespaces import OUR_RULE, Namespace, Namespaces
from fakes.veth import VethSandbox


class KernelDatapath:
    uplink = "eth0"

    def __init__(self, namespaces: Namespaces, mode: ModeName) -> None:
        self.mode = mode
        self._namespaces = namespaces
        node = namespaces.new("node")
        node.sysctl("net/ipv4/ip_forward", "1")
        node.ip("rule", "add", "pref", *OUR_RULE.split())
        node.ip("link", "add", "eth0", "address", UPLINK_MAC, "mtu", str(MTU), "type", "bridge")
        node.ip("address", "add", f"{PRIMARY}/22", "dev", "eth0")
        node.ip("link", "set", "eth0", "up")
        self._node = node
        self.datapath = LinuxDatapath(node_netns=node.path, processes=Path("/proc"))

    async def prepare(self) -> None:
        """Nothing."""

    async def settle(self) -> None:
        await self.datapath.settle()

    def new_netns(self) -> str:
        return self._namespaces.new().path

    def remove_netns(self, path: str) -> None:
        self._at(path).delete()

    def occupy(self, path: str, ifname: str) -> None:
        self._at(path).ip("link", "add", ifname, "type", "bridge")

    def break_link(self, spec: VethSandbox) -> None:
        self._at(spec.netns).ip("link", "set", spec.sandbox.ifname, "down")

    def lose_routes(self, spec: VethSandbox) -> None:
        for address in map(str, spec.addresses):
            self._node.ip("-6" if ":" in address else "-4", "route", "flush", "to", address)
            self._node.ip("neigh", "delete", address, "dev", way_to(spec))

    def turn_off(self, spec: VethSandbox) -> None:
        self._node.ip("link", "set", spec.host_ifname, "down")

    def run_in(self, path: str) -> Callable[[], None]:
        process = subprocess.Popen(
            ["nsenter", f"--net={path}", "sh", "-c", "echo; exec sleep 60"], stdout=subprocess.PIPE
        )
        assert process.stdout
        process.stdout.readline()

        def end() -> None:
            process.kill()
            process.communicate()

        return end

    def lose_rule(self) -> None:
        self._node.ip("rule", "del", "pref", OUR_RULE.split()[0])

    def move(self, spec: VethSandbox) -> None:
        offered = names.offered_ifname(*spec.sandbox.interface)
        self._node.ip("link", "set", offered, "netns", self._at(spec.netns).name)

    def own_egress(self) -> frozenset[IPv4Address]:
        listed = json.loads(self._node.run("nft", "--json", "list", "set", "inet", "azure_cni", "egress_pod"))
        found = next(item["set"] for item in listed["nftables"] if "set" in item)
        return frozenset(map(IPv4Address, found.get("elem", [])))

    @staticmethod
    def _at(path: str) -> Namespace:
        return Namespace(Path(path).name)
