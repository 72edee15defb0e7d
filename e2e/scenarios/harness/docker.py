"""VMs with Docker and without Kubernetes, two at a time: what scenarios do with their containers."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from azurebox.client import Box
from azurebox.docker_host import PORT, SERVER, DockerHost
from azurebox.steps import StepError

NETWORK = "vnet"
DRIVERS = ("-d", "azure-cni", "--ipam-driver", "azure-cni")
PEER, ON_PREM, INTERNET, IMDS = "10.241.0.4", "192.168.50.10", "203.0.113.10", "169.254.169.254"
PATIENCE_S = 300.0


@contextmanager
def two_hosts(version: str) -> Iterator[tuple[DockerHost, DockerHost]]:
    """Both with this engine, and with a network on the VNet."""
    one, other = DockerHost("azbox-docker1", version), DockerHost("azbox-docker2", version)
    try:
        for host in (one, other):
            host.remove()  # the disk of another engine
        for host in (one, other):
            host.start()
            host.docker("network", "create", *DRIVERS, NETWORK)
        yield one, other
    finally:
        for host in (one, other):
            host.remove()


def on_nic(box: Box, host: DockerHost) -> set[str]:
    """The addresses of its NIC in Azure, the primary included."""
    shown = box.azure("GET", f"/nics/{host.name}-nic")
    return {config["properties"]["privateIPAddress"] for config in shown["properties"]["ipConfigurations"]}


def primary(box: Box, host: DockerHost) -> str:
    """Its primary address."""
    shown = box.azure("GET", f"/nics/{host.name}-nic")["properties"]["ipConfigurations"]
    return next(str(it["properties"]["privateIPAddress"]) for it in shown if it["properties"]["primary"])


def started(host: DockerHost, name: str, *options: str, network: str = NETWORK) -> str:
    """A server in a container; its address."""
    host.docker("run", "-d", "--name", name, "--network", network, *options, *SERVER)
    return host.address(name, network=network)


def seen(host: DockerHost, container: str, address: str, port: int = PORT, path: str = "/cgi-bin/whoami") -> str:
    """Whom the server at that address sees when a container asks it; StepError when nobody answers."""
    request = f"printf 'GET {path} HTTP/1.0\\r\\n\\r\\n' | /bin/nc -w 5 {address} {port}"
    said = host.docker("exec", container, "/bin/sh", "-c", request).strip()
    if not said:
        raise StepError(f"{address}:{port} took the connection and said nothing")
    last = said.splitlines()[-1]
    return str(json.loads(last)["caller"]) if last.startswith("{") else last


def has_none_assigned(host: DockerHost) -> bool:
    """No container has an address, and no link of one is left."""
    return ", 0 assigned, " in host.status() and "acni" not in host.run("ip", "link")
