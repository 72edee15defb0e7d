"""The real SDK against the fake: reads, writes with their operations, identity."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.core.pipeline.policies import RequestIdPolicy
from azure.core.polling import AsyncLROPoller
from azure.core.rest import HttpRequest
from azure.identity import WorkloadIdentityCredential
from azure.identity.aio import ManagedIdentityCredential
from azure.mgmt.core import AsyncARMPipelineClient
from azure.mgmt.core.policies import AsyncARMChallengeAuthenticationPolicy
from azure.mgmt.core.polling.async_arm_polling import AsyncARMPolling
from azure.mgmt.network import NetworkManagementClient as BlockingNetworkClient
from azure.mgmt.network.models import NetworkInterfaceIPConfiguration, Subnet

from contract.azure_world import ServedAzure, SyncToken, served
from fakeazure import FakeAzure

IDENTITY_VARIABLES = (
    "IDENTITY_ENDPOINT", "IDENTITY_HEADER", "IMDS_ENDPOINT", "AZURE_AUTHORITY_HOST", "AZURE_TENANT_ID",
    "AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_ID", "MSI_ENDPOINT",
)  # fmt: skip
ARM_SCOPE = "https://management.azure.com/.default"


@pytest.fixture
async def world() -> AsyncIterator[ServedAzure]:
    async with served(FakeAzure(seed=1), secondaries=2) as world:
        yield world


@pytest.fixture
def own_identity(world: ServedAzure, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment in which ManagedIdentityCredential asks the fake's metadata service."""
    for name in IDENTITY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", world.endpoints.imds)


def added(subnet_id: str, name: str) -> NetworkInterfaceIPConfiguration:
    return NetworkInterfaceIPConfiguration(
        name=name, private_ip_allocation_method="Dynamic", subnet=Subnet(id=subnet_id), primary=False
    )


async def test_reads_a_network_interface(world: ServedAzure) -> None:
    nic = await world.network.network_interfaces.get("azbox", "vm1-nic")

    assert nic.provisioning_state == "Succeeded"
    assert nic.mac_address == world.vm.mac
    assert nic.virtual_machine.id == world.vm.id
    assert nic.primary is True
    addresses = [config.private_ip_address for config in nic.ip_configurations]
    assert addresses == ["10.240.0.4", "10.240.0.5", "10.240.0.6"]
    assert [config.primary for config in nic.ip_configurations] == [True, False, False]


async def test_read_change_write_adds_addresses_once_the_operation_succeeded(world: ServedAzure) -> None:
    nic = await world.network.network_interfaces.get("azbox", "vm1-nic")
    subnet_id = nic.ip_configurations[0].subnet.id
    nic.ip_configurations += [added(subnet_id, "ours-1"), added(subnet_id, "ours-2")]

    poller = await world.network.network_interfaces.begin_create_or_update(
        "azbox", "vm1-nic", nic, headers={"If-Match": nic.etag}
    )
    after = await poller.result()

    assert after.provisioning_state == "Succeeded"
    assert after.etag != nic.etag
    assert [config.private_ip_address for config in after.ip_configurations][3:] == ["10.240.0.7", "10.240.0.8"]
    (effective,) = world.azure.effective().nics
    assert [address.address for address in effective.addresses] == [f"10.240.0.{host}" for host in range(4, 9)]
    assert world.azure.calls["nic.put"] == 1
    assert world.azure.calls["operation.get"] >= 1


async def test_an_old_etag_is_refused(world: ServedAzure) -> None:
    nic = await world.network.network_interfaces.get("azbox", "vm1-nic")
    world.azure.outside.touch("vm1-nic")

    with pytest.raises(HttpResponseError) as caught:
        await world.network.network_interfaces.begin_create_or_update(
            "azbox", "vm1-nic", nic, headers={"If-Match": nic.etag}
        )

    assert caught.value.status_code == 412
    assert caught.value.error.code == "PreconditionFailed"
    assert caught.value.error.details[0].code == "PreconditionFailedEtagMismatch"


async def test_a_blocking_client_writes_too(world: ServedAzure) -> None:
    def write() -> list[str]:
        client = BlockingNetworkClient(
            SyncToken(world.azure, "vm1"),
            world.azure.subscription_id,
            base_url=world.endpoints.arm,
            connection_verify=str(world.endpoints.ca_file),
        )
        with client:
            nic = client.network_interfaces.get("azbox", "vm1-nic")
            nic.ip_configurations = nic.ip_configurations[:1]
            after = client.network_interfaces.begin_create_or_update("azbox", "vm1-nic", nic).result()
            return [config.private_ip_address for config in after.ip_configurations]

    assert await asyncio.to_thread(write) == ["10.240.0.4"]


async def test_lists_and_deletes_network_interfaces(world: ServedAzure) -> None:
    world.azure.add_vm("vm2")
    world.azure.delete_vm("vm2", keep_nic=True)

    assert [nic.name async for nic in world.network.network_interfaces.list("azbox")] == ["vm1-nic", "vm2-nic"]
    await (await world.network.network_interfaces.begin_delete("azbox", "vm2-nic")).result()
    assert [nic.name async for nic in world.network.network_interfaces.list_all()] == ["vm1-nic"]
    with pytest.raises(ResourceNotFoundError):
        await world.network.network_interfaces.get("azbox", "vm2-nic")


async def test_a_network_interface_of_a_vm_is_not_deleted(world: ServedAzure) -> None:
    with pytest.raises(HttpResponseError) as caught:
        await world.network.network_interfaces.begin_delete("azbox", "vm1-nic")
    assert caught.value.error.code == "NicInUse"


async def test_reads_a_virtual_machine(world: ServedAzure) -> None:
    vm = await world.compute.virtual_machines.get("azbox", "vm1", expand="instanceView")

    assert vm.vm_id == world.vm.guid
    assert vm.network_profile.network_interfaces[0].id == world.azure.nic("vm1-nic")["id"]
    assert vm.network_profile.network_interfaces[0].primary is True
    assert {status.code for status in vm.instance_view.statuses} >= {"PowerState/running"}
    assert [one.name async for one in world.compute.virtual_machines.list("azbox")] == ["vm1"]


async def test_reads_networks_and_their_usages_page_by_page() -> None:
    azure = FakeAzure(page_size=1)
    async with served(azure, subnets={"nodes": "10.240.0.0/28", "GatewaySubnet": "10.240.1.0/28"}) as world:
        vnet = await world.network.virtual_networks.get("azbox", "vnet")
        subnet = await world.network.subnets.get("azbox", "vnet", "nodes", expand="ipConfigurations")
        usages = [usage async for usage in world.network.virtual_networks.list_usage("azbox", "vnet")]

    assert vnet.address_space.address_prefixes == ["10.240.0.0/16"]
    assert [subnet.name for subnet in vnet.subnets] == ["nodes", "GatewaySubnet"]
    assert subnet.ip_configurations[0].private_ip_address == "10.240.0.4"
    assert [(usage.current_value, usage.limit, usage.unit) for usage in usages] == [(1, 11, "Count"), (-1, -1, "Count")]
    assert azure.calls["vnet.usages"] == 2


async def test_it_shows_whether_an_address_is_free(world: ServedAzure) -> None:
    check = world.network.virtual_networks.check_ip_address_availability
    free, used, reserved = [await check("azbox", "vnet", ip_address=f"10.240.0.{host}") for host in (9, 4, 1)]

    assert free.available is True
    assert used.available is False
    assert used.available_ip_addresses == [f"10.240.0.{host}" for host in range(7, 12)]
    assert reserved.is_platform_reserved is True


@pytest.mark.usefixtures("own_identity")
async def test_managed_identity_of_the_vm(world: ServedAzure) -> None:
    async with ManagedIdentityCredential() as credential:
        token = await credential.get_token(ARM_SCOPE)

    principal = world.azure.identity.authenticate(f"Bearer {token.token}")
    assert principal.object_id == world.vm.principal_id


@pytest.mark.usefixtures("own_identity")
async def test_managed_identity_by_client_id(world: ServedAzure) -> None:
    identity = world.azure.add_identity("agents")
    async with ManagedIdentityCredential(client_id=identity.client_id) as credential:
        token = await credential.get_token(ARM_SCOPE)

    assert world.azure.identity.authenticate(f"Bearer {token.token}") == identity


async def test_workload_identity(world: ServedAzure, tmp_path: Path) -> None:
    identity = world.azure.add_identity("agents", subject="system:serviceaccount:kube-system:azure-cni")
    account = world.azure.add_identity("account")
    file = tmp_path / "token"
    service_account = world.azure.identity.assertion("system:serviceaccount:kube-system:azure-cni")
    file.write_text(service_account)

    def exchange(client_id: str) -> str:
        credential = WorkloadIdentityCredential(
            tenant_id=world.azure.identity.tenant,
            client_id=client_id,
            token_file_path=str(file),
            authority=world.endpoints.arm,
            connection_verify=str(world.endpoints.ca_file),
        )
        with credential:
            return credential.get_token(ARM_SCOPE).token

    token = await asyncio.to_thread(exchange, identity.client_id)
    assert world.azure.identity.authenticate(f"Bearer {token}") == identity
    token = await asyncio.to_thread(exchange, account.client_id)
    assert world.azure.identity.authenticate(f"Bearer {token}") == account


@pytest.mark.usefixtures("own_identity")
async def test_the_plain_pipeline_writes_a_whole_document(world: ServedAzure) -> None:
    """How the product does it: no models, the document as it came, the pipeline's own polling."""
    url = f"{world.azure.nic('vm1-nic')['id']}?api-version=2024-05-01"
    async with ManagedIdentityCredential() as credential:
        policy = AsyncARMChallengeAuthenticationPolicy(credential, ARM_SCOPE)
        client: AsyncARMPipelineClient = AsyncARMPipelineClient(
            world.endpoints.arm, policies=[RequestIdPolicy(), policy], connection_verify=str(world.endpoints.ca_file)
        )
        async with client:
            reply = await client.send_request(HttpRequest("GET", client.format_url(url)))
            document = reply.json()
            document["properties"]["somethingNew"] = {"kept": True}
            document["properties"]["ipConfigurations"].pop()
            request = HttpRequest("PUT", client.format_url(url), json=document, headers={"If-Match": document["etag"]})
            context = await client._pipeline.run(request)
            poller = AsyncLROPoller(client, context, lambda done: done, AsyncARMPolling(0))
            await poller.result()

    after = world.azure.nic("vm1-nic")["properties"]
    assert after["somethingNew"] == {"kept": True}
    assert after["provisioningState"] == "Succeeded"
    assert len(after["ipConfigurations"]) == 2
