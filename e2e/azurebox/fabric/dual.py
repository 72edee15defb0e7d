"""The fabric's IPv6 in the kernel: the router on the cables that have IPv6, and the hosts beyond with their addresses.

Nothing of it is there before a NIC has an IPv6 address. The router is an address on the fabric's end of each such
cable, so the kernel answers who looks for its MAC; `router.py` advertises it.
"""

import socket
from ipaddress import IPv6Address
from pathlib import Path

from azurebox.fabric import kernel, servers
from azurebox.fabric.plan import Plan, Port
from azurebox.fabric.servers import Server
from azurebox.fabric.topology import FABRIC_MAC, PLACES, ROUTER6, device_name

PLACE_OF = {device_name(place.name): place for place in PLACES}


class Dual:
    """What has been made is remembered by the number of its link: a cable that is plugged in again is a new one."""

    def __init__(self, prefix: str, run: Path) -> None:
        self._prefix, self._namespace, self._run = prefix, f"{prefix}-fabric", run
        self._made: set[tuple[str, int]] = set()

    def follow(self, plan: Plan) -> None:
        """Make what the cables of this plan need and do not have; call it before the rules are loaded."""
        ports = [port for port in plan.ports if port.ipv6]
        if not ports and not self._made:
            return
        numbers = {name: int(link["ifindex"]) for name, link in kernel.links(self._namespace).items()}
        new = [port for port in ports if (port.device, numbers[port.device]) not in self._made]
        for port in new:
            self._put_router(port.device)
            if port.device in PLACE_OF:
                self._put_place(port)
        if new:
            servers.ensure_running(self._router(), log=self._run / f"{self._namespace}-router.log")
        wanted = {port.device for port in ports}
        for device, number in self._made:
            if device not in wanted and numbers.get(device) == number:
                kernel.set_sysctls(self._namespace, {f"ipv6/conf/{device}/disable_ipv6": "1"})
        self._made = {(port.device, numbers[port.device]) for port in ports}

    def _put_router(self, device: str) -> None:
        settings = {
            "addr_gen_mode": "1",  # no address but the router's own
            "accept_dad": "0",
            "accept_ra": "0",
            "forwarding": "1",  # or its answers would not say that it is a router
            "disable_ipv6": "0",
        }
        kernel.set_sysctls(self._namespace, {f"ipv6/conf/{device}/{name}": value for name, value in settings.items()})
        kernel.configure(self._namespace, [f"address replace {ROUTER6}/64 dev {device} nodad"])

    def _put_place(self, port: Port) -> None:
        place = PLACE_OF[port.device]
        namespace = f"{self._prefix}-{place.name}"
        kernel.configure(
            namespace,
            [
                f"address replace {place.ipv6}/128 dev eth0 nodad",
                f"route replace ::/0 via {ROUTER6} dev eth0",
            ],
        )
        if place.ipv6:
            servers.ensure_running(self._host(place.name, place.ipv6), log=self._run / f"{namespace}-whoami6.log")

    def _host(self, name: str, address: IPv6Address) -> Server:
        return Server(
            "whoami6",
            f"{self._prefix}-{name}",
            program="whoami.py",
            kind=socket.SOCK_STREAM,
            address=address,
            port=80,
            argument=name,
        )

    def _router(self) -> Server:
        return Server(
            "router",
            self._namespace,
            program="router.py",
            kind=socket.SOCK_RAW,
            address=IPv6Address("::"),
            port=0,
            argument=FABRIC_MAC,
        )
