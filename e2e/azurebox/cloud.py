"""The cloud of the box: the fake Azure and the fabric in one process, in the namespace `azbox-fabric`.

What the fake Azure has programmed is what the fabric lets through, applied before the request or operation that
changed it is answered: when Azure says Succeeded, the address works. Resource manager, metadata service and wireserver
listen at their usual addresses and ports. Two unix sockets lead in from the host: `azure.sock` to look at and change
the fake Azure, `box.sock` for the box itself, to plug in VMs.
"""

import argparse
import asyncio
import logging
import signal
from contextlib import AsyncExitStack
from pathlib import Path

from aiohttp import web

from azurebox.fabric import Fabric
from azurebox.fabric.kernel import configure
from azurebox.fabric.prober import Prober
from azurebox.fabric.topology import ARM, IMDS, WIRESERVER
from azurebox.facts import RESOURCE_GROUP, SCALE_SET, SUBSCRIPTION, instance_number
from azurebox.steps import StepError
from fakeazure import EffectiveNetwork, FakeAzure

log = logging.getLogger(__name__)

VNET, VNET_PREFIX, SUBNET, SUBNET_PREFIX = "azbox-vnet", "10.240.0.0/16", "nodes", "10.240.0.0/22"
PEER, PEER_PREFIX, PEER_SUBNET_PREFIX = "azbox-peer", "10.241.0.0/16", "10.241.0.0/24"
SUBNET6, PEER_SUBNET6 = "fd00:240::/64", "fd00:241::/64"  # where the box has both families
NIC_WRITE_S = 1.0  # how long a NIC write takes; Azure's own figure is not documented, `e2e/box azure` changes it
ARM_NAMES = ("management.azure.com", "login.microsoftonline.com")


class Cloud:
    """The fake Azure tied to the fabric."""

    def __init__(self, fabric: Fabric | None = None, *, dual_stack: bool = False) -> None:
        self._dual_stack = dual_stack
        self.azure = FakeAzure(
            subscription_id=SUBSCRIPTION, resource_group=RESOURCE_GROUP, operation_duration_s=NIC_WRITE_S
        )
        self.fabric = fabric or Fabric()
        self.prober = Prober(self.fabric.namespace, self._apply_again)
        self.azure.healthy_members = lambda: self.prober.healthy
        self._plugged: set[str] = set()
        self._further: set[tuple[str, str]] = set()  # VM and interface of each further NIC
        self.failure = ""  # why the fabric does not do what Azure says; empty when it does

    def lay(self) -> None:
        """Make the networks, and let the fabric follow from now on."""
        self.azure.add_vnet(VNET, VNET_PREFIX, subnets={SUBNET: SUBNET_PREFIX})
        self.azure.add_vnet(PEER, PEER_PREFIX, subnets={"default": PEER_SUBNET_PREFIX})
        self.azure.peer(VNET, PEER)
        if self._dual_stack:
            self.azure.add_ipv6(SUBNET6, f"{VNET}/{SUBNET}")
            self.azure.add_ipv6(PEER_SUBNET6, f"{PEER}/default")
        self.fabric.ensure_namespaces()
        self.azure.subscribe(self._apply)
        self.azure.rule_hits = self.fabric.rule_hits

    def plug_in(self, vm: str, subnet: str = "") -> dict[str, object]:
        """The VM with its NIC, made unless it is there, in the subnet of this name; what DHCP would give it.

        A name of an instance makes one of the Uniform scale set.

        Raises:
            StepError: the fabric cannot plug it in.
            KeyError: there is no such subnet.

        """
        if not self._has(vm):
            self._make(vm, subnet or SUBNET)
        effective, known = self.azure.effective(), self.azure.vm(vm)
        nic = next(nic for nic in effective.nics if nic.nic_id == known.nic_ids[0])
        self.fabric.attach(vm, nic.mac)
        self._plugged.add(vm)
        self._plug_in_further(effective)
        self.fabric.apply(effective, healthy=self.prober.healthy)
        prefix = self.azure.subnet(nic.subnet_id).prefix
        return {
            "mac": nic.mac,
            "primary": next(address.address for address in nic.addresses if address.primary),
            "prefixLength": prefix.prefixlen,
            "gateway": str(prefix.network_address + 1),  # Azure keeps the first four of a subnet; .1 is the router
            "ipv6": next((address for address in nic.ipv6 if "/" not in address), ""),
        }

    def unplug(self, vm: str) -> None:
        """The VM is gone, with its NIC, cable and namespace, if it was there."""
        if self._has(vm):
            self.azure.delete_vm(vm)
        self._plugged.discard(vm)
        self.fabric.detach(vm)

    def _has(self, vm: str) -> bool:
        return vm in {known.computer_name for known in self.azure.network.vms.values()}

    def _make(self, vm: str, subnet: str) -> None:
        number = instance_number(vm)
        if number is None:
            self.azure.add_vm(vm, subnet=subnet, ipv6=bool(self.azure.subnet(subnet).ipv6))
            return
        if not self.azure.uniform.models:
            self.azure.uniform.add(SCALE_SET, instances=0, subnet=subnet)
        self.azure.uniform.start(SCALE_SET, number)

    def _plug_in_further(self, network: EffectiveNetwork) -> None:
        """The further NICs of VMs that are plugged in, as eth1, eth2..., each with its address, as by DHCP.

        `VM-nic2` is eth1. Azure's DHCP gives them no default route (documentation, "Multiple network interfaces").
        """
        wanted = {}
        for nic in network.nics:
            if not nic.is_primary and nic.vm_name in self._plugged:
                wanted[(nic.vm_name, f"eth{int(nic.name.removeprefix(f'{nic.vm_name}-nic')) - 1}")] = nic
        for vm, interface in self._further - set(wanted):
            self.fabric.pull(vm, interface)
        self._further = set(wanted)
        for (vm, interface), nic in wanted.items():
            self.fabric.attach(vm, nic.mac, interface=interface)
            prefix = self.azure.subnet(nic.subnet_id).prefix
            primary = next(address.address for address in nic.addresses if address.primary)
            configure(vm, [f"address replace {primary}/{prefix.prefixlen} dev {interface}"])

    def _apply_again(self) -> None:
        self._apply(self.azure.effective())

    def _apply(self, network: EffectiveNetwork) -> None:
        self.prober.follow(network)
        try:
            self._plug_in_further(network)
            self.fabric.apply(network, healthy=self.prober.healthy)
        except StepError as error:
            # Azure has changed all the same. The box says so (readiness, status) until a later change is applied.
            self.failure = str(error)
            log.error("cannot apply a change of the network: %s", error)  # noqa: TRY400  the cause is in its words
        else:
            self.failure = ""


def box_application(cloud: Cloud) -> web.Application:
    """The box's own door: `GET /ready`, `PUT /vms/NAME?subnet=` to plug a VM in, and DELETE to take it away."""

    async def ready(_: web.Request) -> web.Response:
        return web.json_response({"failure": cloud.failure}, status=503 if cloud.failure else 200)

    async def plug_in(request: web.Request) -> web.Response:
        try:
            return web.json_response(cloud.plug_in(request.match_info["name"], request.query.get("subnet", "")))
        except (StepError, KeyError) as error:
            return web.json_response({"error": str(error)}, status=500)

    async def unplug(request: web.Request) -> web.Response:
        try:
            cloud.unplug(request.match_info["name"])
        except StepError as error:
            return web.json_response({"error": str(error)}, status=500)
        return web.json_response({})

    app = web.Application()
    app.router.add_get("/ready", ready)
    app.router.add_put("/vms/{name}", plug_in)
    app.router.add_delete("/vms/{name}", unplug)
    return app


async def run(state: Path, *, dual_stack: bool) -> None:
    """Serve until SIGTERM; the network stays, it is the box's to take away."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    cloud = Cloud(dual_stack=dual_stack)
    cloud.lay()
    for name in ("azure.sock", "box.sock"):
        (state / name).unlink(missing_ok=True)  # of a process that crashed
    async with AsyncExitStack() as stack:
        endpoints = cloud.azure.serve(
            host=str(ARM),
            arm_port=443,
            imds_host=str(IMDS),
            imds_port=80,
            wireserver_host=str(WIRESERVER),
            wireserver_port=80,
            admin_socket=state / "azure.sock",
            certificate_hosts=ARM_NAMES,
            directory=state,
        )
        await stack.enter_async_context(endpoints)
        runner = web.AppRunner(box_application(cloud), access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.UnixSite(runner, str(state / "box.sock")).start()
        probes = asyncio.create_task(cloud.prober.run())
        stack.callback(probes.cancel)
        await asyncio.wait({probes, end := asyncio.create_task(ended.wait())}, return_when=asyncio.FIRST_COMPLETED)
        if not end.done():
            probes.result()


def main() -> None:
    """`python -m azurebox.cloud --state-dir DIRECTORY [--dual-stack]`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--state-dir", required=True, type=Path)
    parser.add_argument("--dual-stack", action="store_true")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(run(options.state_dir, dual_stack=options.dual_stack))


if __name__ == "__main__":
    main()
