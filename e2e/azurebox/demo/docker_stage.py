"""The stage of Docker's tour: two VMs with an engine and azure-cni's plugin, and one pod of the cluster beside them."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address

from azurebox.client import Box
from azurebox.demo.addresses import Configuration, configurations
from azurebox.demo.guide import Guide
from azurebox.demo.workload import Pod
from azurebox.docker_host import IMAGE, PORT, DockerHost, engine_command
from azurebox.steps import StepError

NAMES = ("azbox-docker1", "azbox-docker2")
NETWORK, FIXED = "vnet", "fixed"
WEB, CLIENT, NAMED = "web", "client", "db"


@dataclass(frozen=True, slots=True)
class Stage:
    """What the scenes play on."""

    box: Box
    hosts: tuple[DockerHost, DockerHost]
    pod: Pod

    @property
    def one(self) -> DockerHost:
        """The first VM, which has the container WEB."""
        return self.hosts[0]

    @property
    def other(self) -> DockerHost:
        """The second VM, which has the container CLIENT."""
        return self.hosts[1]

    @property
    def web(self) -> IPv4Address:
        """The address of WEB, as `address_of`."""
        return address_of(self.one, WEB)

    @property
    def client(self) -> IPv4Address:
        """The address of CLIENT, as `address_of`."""
        return address_of(self.other, CLIENT)

    def primary(self, host: DockerHost) -> IPv4Address:
        """The VM's own address in Azure."""
        [address] = [held.address for held in self._nic(host) if held.primary]
        return address

    def pool(self, host: DockerHost) -> list[IPv4Address]:
        """The addresses that the VM's NIC holds in Azure beside its own, in order."""
        return sorted(held.address for held in self._nic(host) if not held.primary and held.state == "Succeeded")

    def _nic(self, host: DockerHost) -> list[Configuration]:
        return configurations(self.box.azure("GET", f"/nics/{nic_name(host)}"))


def nic_name(host: DockerHost) -> str:
    """Of the NIC that Azure has for this VM."""
    return f"{host.name}-nic"


def address_of(host: DockerHost, container: str, *, network: str = NETWORK) -> IPv4Address:
    """The address of a container, as Docker has it.

    Raises:
        StepError: there is no such container, or it has none.

    """
    if address := host.address(container, network=network):
        return IPv4Address(address)
    raise StepError(f"the container {container} on {host.name} has no address of the network {network}")


def show_in(guide: Guide, host: DockerHost, *words: str, shorten: Callable[[str], str] = str) -> str:
    """Show a command that is typed in that VM, as `Guide.show`."""
    return guide.show("exec", host.name, "--", *words, shorten=shorten)


def show_start(
    guide: Guide,
    host: DockerHost,
    name: str,
    *,
    network: str = NETWORK,
    options: Sequence[str] = (),
) -> None:
    """Show how a container of that name is started, which says at its port whom it sees."""
    show_in(guide, host, "docker", "run", "-d", "--network", network, *options, "--name", name, IMAGE)


def show_call(guide: Guide, host: DockerHost, container: str, url: str) -> str:
    """Show a container that asks `url`; the answer without the end of its line."""
    # No time limit: with -T the wget of Debian's static busybox 1.35 ends by SIGSEGV.
    return show_in(guide, host, "docker", "exec", container, "wget", "-qO-", f"http://{url}").strip()


def served_at(address: object) -> str:
    """Where a container says whom it sees."""
    return f"{address}:{PORT}"


def head(status: str) -> str:
    """Of what `azure-cni docker status` prints, the part before the conditions."""
    return status.partition("\n\n")[0]


def start_vms(hosts: Sequence[DockerHost]) -> None:
    """Boot them one after the other, so that their addresses are in order; the rest at once.

    Raises:
        StepError: a VM, the plugin or the engine does not come up.

    """
    for host in hosts:
        host.boot()
        engine_command(host.version)  # fetched once for all

    def start(host: DockerHost) -> None:
        host.start_docker()  # before the plugin, whose status then knows Docker's containers from its start
        host.start_plugin()
        host.add_commands()

    with ThreadPoolExecutor(max_workers=len(hosts)) as workers:
        list(workers.map(start, hosts))
