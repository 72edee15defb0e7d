"""A plain VM of the VNet, which is no node: a network namespace with a NIC, and a server that says whom it sees.

It stands for a database, a legacy host or a firewall beside the cluster. `GET /whoami` on port 80 of its primary
address answers as the outside hosts do. As an appliance it also forwards, with IP forwarding on its NIC, and remembers
who spoke to whom through it.
"""

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address

from azurebox import azure
from azurebox.fabric import appliance, kernel, servers
from azurebox.fabric.servers import Server
from azurebox.facts import CONTROL_PLANE, PREFIX, RUN, SCALE_SET
from azurebox.steps import StepError

NODES = f"{PREFIX}vm"


@dataclass(frozen=True, slots=True)
class Guest:
    """One plain VM by its name, such as `azbox-db`."""

    name: str

    def __post_init__(self) -> None:
        if not self.name.startswith(PREFIX) or self.name == CONTROL_PLANE or self.name.startswith((NODES, SCALE_SET)):
            raise StepError(f"cannot use {self.name} as a plain VM: its name must begin with {PREFIX}, and not with"
                            f" {NODES} or {SCALE_SET}, which nodes have")  # fmt: skip

    def ensure(self, *, subnet: str = "", forwards: bool = False) -> IPv4Address:
        """Make it unless it is there, in a subnet by name; its primary address."""
        nic = azure.ensure_vm(self.name, subnet=subnet)
        kernel.configure(
            self.name,
            [
                f"address replace {nic.primary}/{nic.prefix_length} dev eth0",
                f"route replace default via {nic.gateway} dev eth0",
            ],
        )
        if forwards:
            appliance.become_appliance(self.name)
            azure.request("PATCH", f"/nics/{self.name}-nic", {"ip_forwarding": True})
        servers.ensure_running(_server(self.name, nic.primary), log=RUN / f"{self.name}-whoami.log")
        return nic.primary

    def remove(self) -> None:
        """Take it away, if it is there."""
        servers.stop_all(f"{self.name}/")
        azure.remove_vm(self.name)

    def spoken_through(self) -> set[tuple[IPv4Address, IPv4Address]]:
        """As an appliance: who spoke to whom through it."""
        return appliance.spoken_through(self.name)


def _server(name: str, address: IPv4Address) -> Server:
    return Server(
        "whoami",
        name,
        program="whoami.py",
        kind=socket.SOCK_STREAM,
        address=address,
        port=80,
        argument=name,
    )
