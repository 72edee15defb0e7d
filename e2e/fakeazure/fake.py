"""FakeAzure: a subscription whose time passes, with injected faults, and its servers."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from fakeazure import natgateways
from fakeazure.apiversions import ApiVersions
from fakeazure.armgroups import Groups
from fakeazure.armmachines import Commands
from fakeazure.attestation import Attester
from fakeazure.clock import Clock
from fakeazure.effective import EffectiveNetwork
from fakeazure.events import ScheduledEvents
from fakeazure.faults import Faults
from fakeazure.identity import Principal
from fakeazure.names import ResourceId, called, leaf, parent
from fakeazure.outside import Outside
from fakeazure.records import Document, Vm
from fakeazure.server import Endpoints, serve
from fakeazure.subscription import SUBSCRIPTION, TENANT, Subscription
from fakeazure.throttling import Throttle
from fakeazure.uniform import UniformSets


class FakeAzure(Subscription):
    """See the package's docstring.

    `operation_duration_s` is how long a write of an attached NIC takes, in seconds of `clock`; it may be changed at any
    time. `page_size` is how many items a list gives at once. What else a test uses: `faults`, `outside` (what other
    tools do), `identity` (permissions), `api_versions`, `events`, `throttle`, `history`, `uniform` (scale sets).
    """

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        operation_duration_s: float = 0.0,
        seed: int = 0,
        subscription_id: str = SUBSCRIPTION,
        resource_group: str = "azbox",
        location: str = "eastus",
        tenant_id: str = TENANT,
        throttling: bool = True,
        page_size: int = 100,
    ) -> None:
        super().__init__(
            clock,
            seed=seed,
            subscription_id=subscription_id,
            resource_group=resource_group,
            location=location,
            tenant_id=tenant_id,
        )
        self.operation_duration_s = operation_duration_s
        self.page_size = page_size
        self.faults = Faults(self.clock.now, self.names.chance)
        self.throttle = Throttle(enabled=throttling)
        self.outside = Outside(self)
        self.events = ScheduledEvents(self.names.guid)
        self.api_versions = ApiVersions(location)
        self.attester = Attester(at=self.clock.now())
        self.user_assigned: dict[str, tuple[Principal, ...]] = {}
        """By VM: the identities of one that has no system-assigned identity."""
        self.scale_sets: dict[str, str] = {}
        """Orchestration modes by ID in lower case, "" for a set that says none."""
        self.uniform = UniformSets(self)
        self.groups = Groups()
        self.commands = Commands()
        self.rule_hits: Callable[[], Mapping[tuple[str, str, str], int]] = dict
        """How many packets each security rule judged, by (group, direction, rule): what the fabric counts, if any."""
        self.healthy_members: Callable[[], Collection[tuple[str, IPv4Address]]] = frozenset
        """Who answers the probes of load balancers, as (id of the probe, address): what the fabric finds, if any."""
        self._callers: dict[str, str] = {}

    async def run(self) -> None:
        """End operations when they are due, for those who listen and do not ask; runs until cancelled."""
        wake = asyncio.Event()
        self.operations.wake = wake.set
        while True:
            wake.clear()
            now = self.settle()
            due = self.operations.next_due()
            waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(wake.wait())]
            if due is not None:
                waits.append(asyncio.ensure_future(self.clock.sleep(due - now)))
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()

    def effective(self) -> EffectiveNetwork:
        """What the fabric may let through at this instant."""
        self.settle()
        return self.network.effective()

    def subscribe(self, listener: Callable[[EffectiveNetwork], None]) -> None:
        """Call `listener` after each change of `effective()`, within the request or operation that made it."""
        self.network.listeners.append(listener)

    def serve(
        self,
        *,
        host: str = "127.0.0.1",
        arm_port: int = 0,
        imds_port: int = 0,
        wireserver_port: int = 0,
        imds_host: str | None = None,
        wireserver_host: str | None = None,
        admin_socket: Path | None = None,
        certificate_hosts: Sequence[str] = (),
        directory: Path | None = None,
    ) -> AbstractAsyncContextManager[Endpoints]:
        """Serve everything while the context is open; see `fakeazure.server.serve`."""
        return serve(
            self,
            host=host,
            ports=(arm_port, imds_port, wireserver_port),
            imds_host=imds_host or host,
            wireserver_host=wireserver_host or host,
            admin_socket=admin_socket,
            certificate_hosts=certificate_hosts,
            directory=directory,
        )

    def pin_caller(self, vm_name: str, source: str = "127.0.0.1") -> None:
        """Take whoever asks IMDS or wireserver from this address for that VM."""
        self._callers[source] = self.vm(vm_name).id

    def schedule_event(self, vm_name: str, kind: str = "Freeze", *, in_seconds: float = 900) -> str:
        """Announce a Freeze, Reboot, Redeploy, Preempt or Terminate; gives the event's id."""
        return self.events.announce(self.vm(vm_name).name, kind, not_before=self.now() + in_seconds)

    def associate_nat_gateway(self, subnet: str, gateway_id: str) -> None:
        """Give a subnet, by name, a NAT gateway, or none for ""."""
        self.settle()
        natgateways.associate(self, subnet, gateway_id)

    def caller(self, source: str) -> Vm | None:
        """The VM that asks from this address."""
        vm_id = self._callers.get(source)
        if vm_id is None:
            nic = self.network.nic_by_primary_address(source)
            vm_id = nic.vm_id if nic else ""
        return self.network.vms.get(vm_id.lower())

    def subject_of(self, resource: ResourceId) -> str:
        """The name by which counts and faults know what a request is about: a poll is about its operation's NIC."""
        operation = self.operations.table.get(resource.leaf)
        return called(operation.resource_id) if operation else resource.called

    def config_document(self, config_id: str) -> Document | None:
        """An IP configuration by its id."""
        nic = self.network.nics.get(parent(config_id).lower())
        if nic is None:
            return None
        found = next((config for config in nic.configs if config.name == leaf(config_id)), None)
        return found.document(nic.id, etag=nic.etag, state=nic.state) if found else None
