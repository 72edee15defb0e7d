"""The fabric as the box uses it: make it, plug VMs in, give it what Azure has programmed, take it all away.

Nothing is remembered in Python: what is plugged in and who is known by which public address is read from the kernel,
so any process can carry on where another ended or crashed, and each method may be called again at any time.
"""

import hashlib
import json
import re
import shutil
import socket
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path

from azurebox.fabric import kernel, servers
from azurebox.fabric.balancer import Health
from azurebox.fabric.balancerules import keeps_udp_flow
from azurebox.fabric.beyond import CORE, CORE_FAR_END, NAT_MAPS, NAT_TABLE
from azurebox.fabric.dual import Dual
from azurebox.fabric.filters import COUNTED
from azurebox.fabric.plan import EMPTY, make_plan
from azurebox.fabric.routes import let_in
from azurebox.fabric.ruleset import render
from azurebox.fabric.servers import Server
from azurebox.fabric.topology import (
    ARM,
    FABRIC_MAC,
    INTERNET_HOST,
    MTU,
    PLACES,
    PLATFORM,
    STACK_SYSCTLS,
    STORAGE,
    WIRESERVER,
    Place,
    device_name,
)
from azurebox.steps import StepError
from fakeazure.effective import EffectiveNetwork

INTERNET_DEVICE = device_name(INTERNET_HOST.name)
RULE_KEY = ("group", "direction", "rule")
LONGEST_NAME = 13  # a link's name has 15 characters at most (linux/if.h), two of them are ours
RESERVED_NAMES = {"fabric", *(place.name for place in (*PLACES, STORAGE))}

INTERFACES = tuple(f"eth{number}" for number in range(8))  # Azure documentation: at most 8 NICs on a VM
CORE_MTU = 9000  # at least that of any NIC, so that the fabric's own stack cuts nothing


class Fabric:
    """The virtual network of one box. Every namespace it makes is named `<prefix>-...`."""

    def __init__(self, prefix: str = "azbox") -> None:
        self.prefix = prefix
        self.namespace = f"{prefix}-fabric"
        self._run = Path("/run") / prefix / "fabric"
        self._names = self._run / "names.json"
        self._storage_rules = self._run / "storage.json"
        self._dual = Dual(prefix, self._run)
        self._has_storage = False  # in this process: what is made once need not be looked at with each change

    def ensure_namespaces(self) -> None:
        """Make the fabric, the places beyond the VMs and their servers, as far as they are missing.

        What had to be made carries nothing before the next `apply`; what was there goes on.
        """
        kernel.ensure_namespace(self.namespace)
        kernel.set_sysctls(self.namespace, STACK_SYSCTLS)
        self._ensure_core()
        for place in PLACES:
            self._ensure_place(place)
        neighbour = f"{INTERNET_HOST.address} lladdr {INTERNET_HOST.mac} dev {INTERNET_DEVICE} nud permanent"
        kernel.configure(
            self.namespace,
            [f"route replace {INTERNET_HOST.address}/32 dev {INTERNET_DEVICE}", f"neighbour replace {neighbour}"],
        )
        self._ensure_servers()

    def attach(self, vm_name: str, mac: str, *, interface: str = "eth0", mtu: int = MTU) -> None:
        """Plug a NIC of a VM in: its namespace has an `eth0` with this MAC; nothing passes before the next `apply`.

        A NIC that is plugged in with this MAC is left alone. Addresses and routes of `eth0` are the VM's own affair.
        `mtu` is the NIC's: what is larger is dropped on its way in and out, whatever the VM makes of its own end.

        Raises:
            StepError: the VM's name does not begin with the prefix, or is that of a place.

        """
        device = self._device(vm_name, interface)
        kernel.ensure_namespace(vm_name)
        self._plug(vm_name, device, mac=mac, interface=interface, mtu=mtu)

    def pull(self, vm_name: str, *interfaces: str) -> None:
        """Pull some of a VM's cables out, as far as they are there."""
        there = kernel.links(self.namespace)
        for device in (self._device(vm_name, interface) for interface in interfaces):
            if device in there:
                kernel.delete_link(self.namespace, device)

    def detach(self, vm_name: str) -> None:
        """Pull a VM's cables out and delete its namespace."""
        self._device(vm_name)  # refuses a name that is no VM's
        if kernel.is_whole(self.namespace):
            self.pull(vm_name, *INTERFACES)
        kernel.delete_namespace(vm_name)

    def apply(self, network: EffectiveNetwork, *, healthy: Health = ()) -> None:
        """Let pass what Azure has programmed, and nothing else, from this instant on and for running flows too.

        A NIC counts once its VM is attached: attach first, then apply. Of the members of load balancers whose rules
        have a probe, those that are `healthy` get new flows.

        Raises:
            StepError: the kernel refuses the rules (an address on two NICs, for instance); the old ones then stay.

        """
        self._ensure_storage(network)
        lent = kernel.address_map(self.namespace, NAT_TABLE, NAT_MAPS[0])
        plan = make_plan(network, cables=self._cables(), lent=lent, healthy=healthy)
        self._dual.follow(plan)
        kernel.load_rules(self.namespace, render(plan))
        for rule in (rule for rule in plan.balanced if "udp" in rule.protocols):
            for flow in kernel.udp_flows(self.namespace, rule.frontend, rule.frontend_port):
                if not keeps_udp_flow(rule, end=flow.end, mark=flow.mark):
                    kernel.forget_udp_flow(self.namespace, flow)
        primaries = {port.mac: port.primary for port in plan.ports if port.primary}
        named = [(nic.vm_name, primaries.get(nic.mac.lower())) for nic in network.nics if nic.is_primary]
        self._write_names({name: primary for name, primary in named if name and primary})

    def public_addresses(self) -> dict[IPv4Address, IPv4Address]:
        """Who leaves the VNet as whom: private address → the address that the internet sees."""
        maps = [kernel.address_map(self.namespace, NAT_TABLE, name) for name in reversed(NAT_MAPS)]
        return {private: public for translation in maps for private, public in translation.items()}

    def servers(self) -> dict[str, int]:
        """The fabric's own servers that run, "azbox-onprem/whoami" → process id."""
        return servers.running(f"{self.prefix}-")

    def destroy(self) -> None:
        """Take everything away: servers, cables, all namespaces of the prefix, files; whatever of it there is."""
        servers.stop_all(f"{self.prefix}-")
        if kernel.is_whole(self.namespace):
            # A namespace outlives its name while a process holds a socket in it; the cables must not.
            for link in kernel.links(self.namespace):
                if link.startswith(device_name("")):
                    kernel.delete_link(self.namespace, link)
        for namespace in kernel.namespaces(f"{self.prefix}-"):
            kernel.delete_namespace(namespace)
        shutil.rmtree(self._run, ignore_errors=True)
        with suppress(OSError):  # not there, or the box has more in it
            self._run.parent.rmdir()

    def _ensure_core(self) -> None:
        """The fabric's own IP stack: platform addresses, and the way from them and from the internet into the VNet.

        What is neither here nor the internet goes to the VNet by CORE, where an address that nobody has ends in
        silence. Because there is such a way to any address, the kernel answers ARP for any.
        """
        if CORE not in kernel.links(self.namespace):
            ends = f"{CORE} mtu {CORE_MTU} address {FABRIC_MAC} type veth peer name {CORE_FAR_END} mtu {CORE_MTU}"
            kernel.configure(self.namespace, [f"link add {ends}"])
            kernel.load_rules(self.namespace, render(EMPTY))
        if not kernel.has_table(self.namespace, "ip", NAT_TABLE):  # a crash came between the two above
            kernel.load_rules(self.namespace, render(EMPTY))
        kernel.configure(
            self.namespace,
            [
                *(f"address replace {address}/32 dev lo" for address in PLATFORM),
                f"link set {CORE_FAR_END} up",
                f"link set {CORE} arp off up",
                f"route replace default dev {CORE}",
            ],
        )

    def _ensure_storage(self, network: EffectiveNetwork) -> None:
        """The storage host, once there is an account; its rules follow each change."""
        if not network.storage:
            return
        _write_whole(self._storage_rules, json.dumps(let_in(network)))
        if self._has_storage:
            return
        self._ensure_place(STORAGE)
        device = device_name(STORAGE.name)
        neighbour = f"{STORAGE.address} lladdr {STORAGE.mac} dev {device} nud permanent"
        kernel.configure(
            self.namespace,
            [f"route replace {STORAGE.address}/32 dev {device}", f"neighbour replace {neighbour}"],
        )
        server = Server(
            "storage",
            f"{self.prefix}-{STORAGE.name}",
            program="storage.py",
            kind=socket.SOCK_STREAM,
            address=STORAGE.address,
            port=80,
            argument=str(self._storage_rules),
        )
        servers.ensure_running(server, log=self._run / f"{server.namespace}-{server.name}.log")
        self._has_storage = True

    def rule_hits(self) -> dict[tuple[str, str, str], int]:
        """How many packets each security rule judged, by (group, direction, rule)."""
        counted = kernel.counters(self.namespace, "netdev", "virtual_network")
        named = {tuple(name.removeprefix(COUNTED).split("/")): packets for name, packets in counted.items()}
        return {(key[0], key[1], key[2]): packets for key, packets in named.items() if len(key) == len(RULE_KEY)}

    def _ensure_place(self, place: Place) -> None:
        namespace = f"{self.prefix}-{place.name}"
        kernel.ensure_namespace(namespace)
        self._plug(namespace, device_name(place.name), mac=place.mac)
        kernel.configure(
            namespace,
            [f"address replace {place.address}/24 dev eth0", f"route replace default via {place.gateway} dev eth0"],
        )

    def _plug(self, namespace: str, device: str, *, mac: str, interface: str = "eth0", mtu: int = MTU) -> None:
        """A cable between the fabric and a namespace. The fabric's end carries the MAC of the far end as its alias.

        The kernel drops what is larger than the MTU of the end that it arrives at, by more than a VLAN tag's 4 bytes.
        A segment that TCP left to the NIC to cut passes as a whole.
        """
        mac = mac.lower()
        near = kernel.links(self.namespace).get(device)
        far = kernel.links(namespace).get(interface)
        if not (near and far and near.get("ifalias") == mac == far["address"] and near["mtu"] == mtu):
            if near:
                kernel.delete_link(self.namespace, device)
            if interface in kernel.links(namespace):  # of a fabric that is gone
                kernel.delete_link(namespace, interface)
            there = f"type veth peer name {interface} mtu {mtu} address {mac} netns {namespace}"
            here = f"link add {device} mtu {mtu} address {FABRIC_MAC} {there}"
            kernel.configure(self.namespace, [here, f"link set {device} alias {mac}"])
        kernel.set_sysctls(self.namespace, {f"ipv4/neigh/{device}/proxy_delay": "0"})  # else up to 0.8 s
        kernel.configure(self.namespace, [f"link set {device} up"])
        kernel.configure(namespace, [f"link set {interface} up"])

    def _cables(self) -> dict[str, str]:
        """Devices of the fabric with the MAC at their far end; the internet's is the stack's own affair."""
        return {
            name: link.get("ifalias", "")
            for name, link in kernel.links(self.namespace).items()
            if name.startswith(device_name("")) and name != INTERNET_DEVICE
        }

    def _device(self, vm_name: str, interface: str = "eth0") -> str:
        name = vm_name.removeprefix(f"{self.prefix}-")
        if name == vm_name or name in RESERVED_NAMES or not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
            raise StepError(
                f"cannot attach VM {vm_name}: its name must be {self.prefix}-NAME, of letters, digits, dots and dashes,"
                f" and NAME none of {', '.join(sorted(RESERVED_NAMES))}"
            )
        if interface != "eth0":
            name = f"{name}-{interface}"
        if len(name) > LONGEST_NAME:
            name = hashlib.sha256(name.encode()).hexdigest()[:LONGEST_NAME]
        return device_name(name)

    def _ensure_servers(self) -> None:
        self._run.mkdir(parents=True, exist_ok=True)
        if not self._names.exists():
            self._write_names({})
        for server in (*(self._host(place) for place in PLACES), self._nameserver()):
            servers.ensure_running(server, log=self._run / f"{server.namespace}-{server.name}.log")

    def _host(self, place: Place) -> Server:
        return Server(
            "whoami",
            f"{self.prefix}-{place.name}",
            program="whoami.py",
            kind=socket.SOCK_STREAM,
            address=place.address,
            port=80,
            argument=place.name,
        )

    def _nameserver(self) -> Server:
        return Server(
            "dns",
            self.namespace,
            program="nameserver.py",
            kind=socket.SOCK_DGRAM,
            address=WIRESERVER,
            port=53,
            argument=str(self._names),
        )

    def _write_names(self, vms: dict[str, IPv4Address]) -> None:
        """Tell the DNS server who has which address; names are looked up in lower case."""
        names = {"management.azure.com": ARM, "login.microsoftonline.com": ARM, **vms}
        _write_whole(self._names, json.dumps({name.lower(): str(address) for name, address in names.items()}))


def _write_whole(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    partial.replace(path)
