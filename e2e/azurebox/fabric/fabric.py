"""The fabric as the box uses it: make it, plug VMs in, tell it what Azure has programmed, take it all away.

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
from azurebox.fabric.plan import EMPTY, make_plan
from azurebox.fabric.ruleset import CORE, CORE_FAR_END, NAT_MAP, NAT_TABLE, render
from azurebox.fabric.servers import Server
from azurebox.fabric.topology import (
    ARM,
    FABRIC_MAC,
    INTERNET_HOST,
    MTU,
    PLACES,
    PLATFORM,
    WIRESERVER,
    Place,
    device_name,
)
from azurebox.steps import StepError
from fakes.azure.effective import EffectiveNetwork

INTERNET_DEVICE = device_name(INTERNET_HOST.name)
LONGEST_NAME = 13  # a link's name has 15 characters at most (linux/if.h), two of them are ours
RESERVED_NAMES = {"fabric", *(place.name for place in PLACES)}

SYSCTLS = {
    "ipv4/ip_forward": "1",
    # What every later link inherits: ARP is answered for any address, and no source is thought impossible.
    "ipv4/conf/default/proxy_arp": "1",
    "ipv4/conf/default/rp_filter": "0",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/send_redirects": "0",
    "ipv4/conf/all/send_redirects": "0",
    "ipv6/conf/all/disable_ipv6": "1",
    "ipv6/conf/default/disable_ipv6": "1",
}


class Fabric:
    """The virtual network of one box. Every namespace it makes is named `<prefix>-...`."""

    def __init__(self, prefix: str = "azbox") -> None:
        self.prefix = prefix
        self.namespace = f"{prefix}-fabric"
        self._run = Path("/run") / prefix / "fabric"
        self._names = self._run / "names.json"

    def ensure_namespaces(self) -> None:
        """Make the fabric, the places beyond the VMs and their servers, as far as they are missing.

        What had to be made carries nothing before the next `apply`; what was there goes on.
        """
        kernel.ensure_namespace(self.namespace)
        kernel.set_sysctls(self.namespace, SYSCTLS)
        self._ensure_core()
        for place in PLACES:
            self._ensure_place(place)
        neighbour = f"{INTERNET_HOST.address} lladdr {INTERNET_HOST.mac} dev {INTERNET_DEVICE} nud permanent"
        kernel.configure(
            self.namespace,
            [f"route replace {INTERNET_HOST.address}/32 dev {INTERNET_DEVICE}", f"neighbour replace {neighbour}"],
        )
        self._ensure_servers()

    def attach(self, vm_name: str, mac: str) -> None:
        """Plug a VM in: its namespace has an `eth0` with this MAC; nothing passes before the next `apply`.

        A VM that is plugged in with this MAC is left alone. Addresses and routes of `eth0` are the VM's own affair.

        Raises:
            StepError: the VM's name does not begin with the prefix, or is that of a place.

        """
        device = self._device(vm_name)
        kernel.ensure_namespace(vm_name)
        self._plug(vm_name, device, mac=mac)

    def detach(self, vm_name: str) -> None:
        """Pull a VM's cable out and delete its namespace."""
        device = self._device(vm_name)
        if kernel.is_whole(self.namespace) and device in kernel.links(self.namespace):
            kernel.delete_link(self.namespace, device)
        kernel.delete_namespace(vm_name)

    def apply(self, network: EffectiveNetwork) -> None:
        """Let pass what Azure has programmed, and nothing else, from this instant on and for running flows too.

        A NIC counts once its VM is attached: attach first, then apply.

        Raises:
            StepError: the kernel refuses the rules (an address on two NICs, for instance); the old ones then stay.

        """
        plan = make_plan(network, cables=self._cables(), lent=self.public_addresses())
        kernel.load_rules(self.namespace, render(plan))
        primaries = {port.mac: port.primary for port in plan.ports if port.primary}
        named = [(nic.vm_name, primaries.get(nic.mac.lower())) for nic in network.nics]
        self._write_names({name: primary for name, primary in named if name and primary})

    def public_addresses(self) -> dict[IPv4Address, IPv4Address]:
        """Who leaves the VNet as whom: private address → the address that the internet sees."""
        return kernel.address_map(self.namespace, NAT_TABLE, NAT_MAP)

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
            line = f"link add {CORE} mtu {MTU} address {FABRIC_MAC} type veth peer name {CORE_FAR_END} mtu {MTU}"
            kernel.configure(self.namespace, [line])
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

    def _ensure_place(self, place: Place) -> None:
        namespace = f"{self.prefix}-{place.name}"
        kernel.ensure_namespace(namespace)
        self._plug(namespace, device_name(place.name), mac=place.mac)
        kernel.configure(
            namespace,
            [f"address replace {place.address}/24 dev eth0", f"route replace default via {place.gateway} dev eth0"],
        )

    def _plug(self, namespace: str, device: str, *, mac: str) -> None:
        """A cable between the fabric and a namespace. The fabric's end carries the MAC of the far end as its alias."""
        mac = mac.lower()
        near = kernel.links(self.namespace).get(device)
        far = kernel.links(namespace).get("eth0")
        if not (near and far and near.get("ifalias") == mac == far["address"]):
            if near:
                kernel.delete_link(self.namespace, device)
            if "eth0" in kernel.links(namespace):  # of a fabric that is gone
                kernel.delete_link(namespace, "eth0")
            there = f"type veth peer name eth0 mtu {MTU} address {mac} netns {namespace}"
            here = f"link add {device} mtu {MTU} address {FABRIC_MAC} {there}"
            kernel.configure(self.namespace, [here, f"link set {device} alias {mac}"])
        kernel.set_sysctls(self.namespace, {f"ipv4/neigh/{device}/proxy_delay": "0"})  # else up to 0.8 s
        kernel.configure(self.namespace, [f"link set {device} up"])
        kernel.configure(namespace, ["link set eth0 up"])

    def _cables(self) -> dict[str, str]:
        """Devices of the fabric with the MAC at their far end; the internet's is the stack's own affair."""
        return {
            name: link.get("ifalias", "")
            for name, link in kernel.links(self.namespace).items()
            if name.startswith(device_name("")) and name != INTERNET_DEVICE
        }

    def _device(self, vm_name: str) -> str:
        name = vm_name.removeprefix(f"{self.prefix}-")
        if name == vm_name or name in RESERVED_NAMES or not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
            raise StepError(
                f"cannot attach VM {vm_name}: its name must be {self.prefix}-NAME, of letters, digits, dots and dashes,"
                f" and NAME none of {', '.join(sorted(RESERVED_NAMES))}"
            )
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
        partial = self._names.with_suffix(".partial")
        partial.write_text(json.dumps({name.lower(): str(address) for name, address in names.items()}))
        partial.replace(self._names)
