"""The fake Azure as a process: one VNet, a VM and NIC for each node, Azure's token buckets and slow operations."""

import asyncio
import sys

import msgspec

from fakeazure import FakeAzure
from simulation.pace import AzureClock
from simulation.plan import AZURE_FILE, AzureFacts, Machine, Run, Scenario

AUDIENCE = "https://management.azure.com"
CONTROLLER = "controller"
"""The VM that the controllers run on."""


async def serve(run: Run) -> None:
    """Until the process is ended."""
    scenario = run.scenario
    azure = FakeAzure(AzureClock(run.pace), operation_duration_s=scenario.operation_s, seed=run.seed)
    azure.identity.lifetime_s = 86_400  # tokens live in real time, which is not what is looked at here
    azure.add_vnet(prefix="10.0.0.0/8", subnets={"nodes": f"10.128.0.0/{scenario.subnet_prefix}"})
    if scenario.dual:
        azure.add_ipv6("fd00:128::/64", "nodes")
    azure.add_vnet("management", "192.168.0.0/16", subnets={CONTROLLER: "192.168.0.0/24"})
    azure.add_vm(CONTROLLER, subnet=CONTROLLER)  # elsewhere: all that is used in the nodes' VNet is theirs
    azure.pin_caller(CONTROLLER)
    machines = {name: _machine(azure, scenario, name) for name in scenario.node_names}
    later_token, _ = azure.identity.issue(azure.add_identity("later"), audience=AUDIENCE)
    socket = run.directory / "azure.sock"
    async with azure.serve(admin_socket=socket, directory=run.directory) as endpoints:
        facts = AzureFacts(endpoints.arm, endpoints.imds, endpoints.ca_file, socket, machines, later_token)
        made = run.directory / f"{AZURE_FILE}.new"
        made.write_bytes(msgspec.json.encode(facts, enc_hook=str))
        made.rename(run.directory / AZURE_FILE)
        await asyncio.Event().wait()


def _machine(azure: FakeAzure, scenario: Scenario, name: str) -> Machine:
    shape, index = scenario.shape_of(name)
    vm = shape.make(azure, name, index)
    token, _ = azure.identity.issue(azure.identity.principals[vm.principal_id], audience=AUDIENCE)
    nic = azure.network.nics[vm.nic_ids[0].lower()]
    return Machine(
        resource_id=vm.id,
        vm_id=vm.guid,
        mac=nic.mac.replace("-", ":").lower(),
        primary_ip=nic.primary.address,
        token=token,
    )


if __name__ == "__main__":
    asyncio.run(serve(Run.load(sys.argv[1])))
