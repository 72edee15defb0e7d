"""A small virtual network to test the fabric with: two VMs, what Azure has programmed for them, and plain sockets.

All values are frozen; a test changes the network by `replace` and applies it. Sockets are made in a namespace and used
from the test itself. What must not arrive is sent first and something that must arrive behind it, so that silence
needs no waiting. Where it does, it is waited for SILENCE_S; what must come has PATIENCE_S, on a machine of any speed.
"""

import json
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from azurebox.fabric import Fabric
from azurebox.fabric.kernel import configure, inside
from datapath.left_behind import own_prefix
from fakeazure.effective import EffectiveAddress, EffectiveNetwork, EffectiveNic, EffectiveSubnet, EffectiveVNet

FABRIC_MAC = "12:34:56:78:9a:bc"
IP_RECVTTL = 12  # linux/in.h; named by Python only from 3.14 on
SILENCE_S = 0.3
PATIENCE_S = 30.0

PRIMARY_1, SECOND_1, PUBLISHED_1 = "10.240.0.5", "10.240.0.7", "10.240.0.8"
PUBLIC_IP = "198.51.100.77"  # of PUBLISHED_1
PRIMARY_2, SECOND_2 = "10.240.0.6", "10.240.0.9"


def an_address(text: str, *, primary: bool = False, public_ip: str | None = None) -> EffectiveAddress:
    return EffectiveAddress(text, primary=primary, public_ip=public_ip, load_balancer_pools=())


def a_nic(vm_name: str, mac: str, addresses: tuple[EffectiveAddress, ...]) -> EffectiveNic:
    return EffectiveNic(
        nic_id=f"/nics/{vm_name}-nic",
        name=f"{vm_name}-nic",
        vm_name=vm_name,
        mac=mac,
        ip_forwarding=False,
        subnet_id="/vnets/main/subnets/nodes",
        addresses=addresses,
    )


MAIN = EffectiveVNet(
    "/vnets/main",
    prefixes=("10.240.0.0/16",),
    subnets=(EffectiveSubnet("/vnets/main/subnets/nodes", prefix="10.240.0.0/22", default_outbound=True),),
    peered_vnet_ids=("/vnets/PEER",),  # ids are compared without regard to case
)
PEERED = EffectiveVNet("/vnets/peer", prefixes=("10.241.0.0/16",), subnets=(), peered_vnet_ids=("/vnets/main",))


def a_network(prefix: str) -> EffectiveNetwork:
    """Two NICs with a primary and a secondary each; the first has a public IP on a third, the second has a block."""
    first = (
        an_address(PRIMARY_1, primary=True),
        an_address(SECOND_1),
        an_address(PUBLISHED_1, public_ip=PUBLIC_IP),
    )
    second = (an_address(PRIMARY_2, primary=True), an_address(SECOND_2), an_address("10.240.0.16/28"))
    nics = (a_nic(f"{prefix}-vm1", "00:0d:3a:00:00:01", first), a_nic(f"{prefix}-vm2", "00:0d:3a:00:00:02", second))
    return EffectiveNetwork(vnets=(MAIN, PEERED), nics=nics)


def with_nic(network: EffectiveNetwork, index: int, **changes: object) -> EffectiveNetwork:
    nics = list(network.nics)
    nics[index] = replace(nics[index], **changes)
    return replace(network, nics=tuple(nics))


def without_address(network: EffectiveNetwork, index: int, text: str) -> EffectiveNetwork:
    kept = tuple(address for address in network.nics[index].addresses if address.address != text)
    return with_nic(network, index, addresses=kept)


@dataclass
class Lab:
    """A fabric with two VMs, set up as a VM of Azure that has all its addresses on `eth0`."""

    fabric: Fabric
    network: EffectiveNetwork
    opened: list[socket.socket] = field(default_factory=list)

    @property
    def vm1(self) -> str:
        return f"{self.fabric.prefix}-vm1"

    @property
    def vm2(self) -> str:
        return f"{self.fabric.prefix}-vm2"

    def place(self, name: str) -> str:
        return f"{self.fabric.prefix}-{name}"

    def attach_all(self) -> None:
        for number, nic in enumerate(self.network.nics):
            self.fabric.attach(nic.vm_name, nic.mac)
            self.attach_all_addresses(number)

    def attach_all_addresses(self, number: int) -> None:
        """Give `eth0` of a VM its addresses and the default route."""
        nic = self.network.nics[number]
        configure(
            nic.vm_name or "",
            [
                *(f"address replace {address.address.split('/')[0]}/22 dev eth0" for address in nic.addresses),
                "route replace default via 10.240.0.1 dev eth0",
            ],
        )

    def apply(self, network: EffectiveNetwork | None = None) -> None:
        self.fabric.apply(network or self.network)

    def open(self, namespace: str, make: Callable[[], socket.socket]) -> socket.socket:
        made = inside(namespace, make)
        self.opened.append(made)
        return made

    def udp(self, namespace: str, address: str = "", port: int = 0) -> socket.socket:
        def make() -> socket.socket:
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            made.bind((address, port))
            made.settimeout(PATIENCE_S)
            return made

        return self.open(namespace, make)

    def listener(self, namespace: str, address: str, port: int) -> socket.socket:
        def make() -> socket.socket:
            made = socket.create_server((address, port))
            made.settimeout(PATIENCE_S)
            return made

        return self.open(namespace, make)

    def connect(
        self, namespace: str, source: str, target: tuple[str, int], *, timeout_s: float = PATIENCE_S
    ) -> socket.socket:
        def make() -> socket.socket:
            made = socket.socket()
            try:
                made.settimeout(timeout_s)
                made.bind((source, 0))
                made.connect(target)
            except BaseException:
                made.close()
                raise
            return made

        return self.open(namespace, make)

    def connects(self, namespace: str, source: str, target: tuple[str, int], *, within_s: float = PATIENCE_S) -> bool:
        """Whether a handshake works; False only for silence, a refusal is an error of the test."""
        try:
            self.connect(namespace, source, target, timeout_s=within_s)
        except TimeoutError:
            return False
        return True

    def unanswered(self, namespace: str, source: str, target: tuple[str, int]) -> bool:
        """Whether a handshake meets silence."""
        return not self.connects(namespace, source, target, within_s=SILENCE_S)

    def raw(self, namespace: str, *, protocol: int = 0x0003) -> socket.socket:
        """A socket on the wire of `eth0`; 0x0003 is every protocol."""

        def make() -> socket.socket:
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
            made.bind(("eth0", protocol))
            made.settimeout(PATIENCE_S)
            return made

        return self.open(namespace, make)

    def no_echo(self, namespace: str, target: str) -> bool:
        """Whether an echo request meets silence."""
        return not self.pings(namespace, target, within_s=SILENCE_S)

    def pings(self, namespace: str, target: str, *, within_s: float = PATIENCE_S) -> bool:
        def make() -> socket.socket:
            made = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
            made.settimeout(within_s)
            return made

        pinger = self.open(namespace, make)
        pinger.sendto(with_checksum(struct.pack("!BBHHH", 8, 0, 0, 7, 1)), (target, 0))
        try:
            return pinger.recvfrom(2048)[0][20] == 0  # type of an echo reply, behind the IP header
        except TimeoutError:
            return False

    def whoami(self, namespace: str, source: str, target: str) -> dict[str, str]:
        """What the host `target` says of the caller: `{"host": ..., "caller": ...}`."""
        calling = self.connect(namespace, source, (target, 80))
        calling.sendall(b"GET /whoami HTTP/1.0\r\n\r\n")
        with calling.makefile("rb") as reply:
            return json.loads(reply.read().partition(b"\r\n\r\n")[2])

    def close(self) -> None:
        for opened in self.opened:
            opened.close()
        self.opened.clear()


@contextmanager
def a_lab(name: str) -> Iterator[Lab]:
    """A whole lab with namespaces of its own, told apart by `name`; gone afterwards, whatever happens."""
    prefix = own_prefix(name)
    lab = Lab(Fabric(prefix), a_network(prefix))
    try:
        lab.fabric.ensure_namespaces()
        lab.attach_all()
        yield lab
    finally:
        lab.close()
        lab.fabric.destroy()


def arrivals(receiver: socket.socket, last: bytes) -> list[tuple[bytes, str]]:
    """What came in, up to the message `last`: payload and source address."""
    seen = []
    while not seen or seen[-1][0] != last:
        payload, source = receiver.recvfrom(2048)
        seen.append((payload, source[0]))
    return seen


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def with_checksum(header: bytes) -> bytes:
    """An ICMP or IPv4 header whose checksum field, zero until now, is at 2 or 10."""
    total = sum(struct.unpack(f"!{len(header) // 2}H", header))
    total = (total >> 16) + (total & 0xFFFF)
    total += total >> 16
    offset = 2 if len(header) == 8 else 10
    return header[:offset] + struct.pack("!H", ~total & 0xFFFF) + header[offset + 2 :]


def a_datagram(source: str, target: str, payload: bytes, *, port: int, protocol: int = 17) -> bytes:
    """An IPv4 packet with a UDP datagram (without UDP checksum)."""
    udp = struct.pack("!4H", 4000, port, 8 + len(payload), 0) + payload
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, protocol, 0)
    return with_checksum(header + socket.inet_aton(source) + socket.inet_aton(target)) + udp


def a_frame(packet: bytes, *, source_mac: str, target_mac: str = FABRIC_MAC) -> bytes:
    return mac(target_mac) + mac(source_mac) + struct.pack("!H", 0x0800) + packet


def arp_request(*, source_mac: str, source: str, target: str) -> bytes:
    ethernet = b"\xff" * 6 + mac(source_mac) + struct.pack("!H", 0x0806)
    request = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac(source_mac) + socket.inet_aton(source)
    return ethernet + request + b"\0" * 6 + socket.inet_aton(target)
