"""Who am I: the cloud's port in memory, in ARM and observed, and each way of not finding out."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from azure_cni.api.identity import MachineClaim, NodeIdentity
from azure_cni.api.orders import Identify
from azure_cni.azure.arm import Arm
from azure_cni.azure.claims import ImdsClaims
from azure_cni.azure.cloud import ArmCloud
from azure_cni.azure.clouds import AzureCloud, cloud_named
from azure_cni.azure.credentials import MISLEADING, managed_identity, workload_identity
from azure_cni.azure.imds import Imds
from azure_cni.azure.observed import ObservedCloud
from azure_cni.azure.resources import Resource
from azure_cni.errors import AccessDenied, CloudError, CloudNotFound, CloudUnreachable, RequestRefused
from azure_cni.node import ports
from azure_cni.node.ordered import OrderedCloud
from contract.azure_world import Token
from contract.nic_world import Calls, ordering
from fakes import azure as faults
from fakes.azure import Endpoints, FakeAzure
from fakes.cloud import IDENTITY, FakeCloud


class AzureWorld:
    """A VM with two NICs in a VNet with one peer, and the adapters for it."""

    def __init__(self, azure: FakeAzure, endpoints: Endpoints) -> None:
        self.azure, self.endpoints = azure, endpoints
        self.meter = Calls()
        self.imds = Imds(meter=self.meter, url=endpoints.imds, sleep=_no_sleep)

    @contextlib.asynccontextmanager
    async def arm(self, credential: Any = None, cloud: AzureCloud | None = None) -> AsyncIterator[Arm]:
        arm = Arm(
            cloud or cloud_named("AzurePublicCloud", endpoint=self.endpoints.arm),
            credential or Token(self.azure, "vm1"),
            meter=self.meter,
            ca_file=self.endpoints.ca_file,
        )
        try:
            yield arm
        finally:
            await arm.close()


async def _no_sleep(_: float) -> None:
    return None


@pytest.fixture
async def world() -> AsyncIterator[AzureWorld]:
    azure = FakeAzure(seed=3)
    azure.add_vnet("vnet", ["10.240.0.0/16", "10.250.0.0/16"], subnets={"nodes": "10.240.0.0/22"})
    azure.add_vnet("peer", "10.241.0.0/16", subnets={"other": "10.241.0.0/24"})
    azure.peer("vnet", "peer")
    azure.add_vm("vm1", secondaries=2, nics=2)
    azure.pin_caller("vm1")
    async with azure.serve() as endpoints:
        yield AzureWorld(azure, endpoints)


@pytest.fixture
async def cloud(world: AzureWorld) -> AsyncIterator[ArmCloud]:
    async with world.arm() as arm:
        yield ArmCloud(world.imds, arm)


@pytest.fixture(params=["memory", "azure", "ordered", "observed"])
async def any_cloud(request: pytest.FixtureRequest, world: AzureWorld) -> AsyncIterator[ports.Cloud]:
    if request.param == "memory":
        yield FakeCloud()
    elif request.param == "observed":
        yield ObservedCloud(world.imds, mac=world.azure.nic_record("vm1-nic").mac.replace("-", ":"))
    elif request.param == "ordered":
        async with world.arm() as arm, ordering(arm) as (_, post):
            yield OrderedCloud(ImdsClaims(world.imds), post)
    else:
        async with world.arm() as arm:
            yield ArmCloud(world.imds, arm)


async def test_every_cloud_tells_a_kernels_mac_and_the_primary_address(any_cloud: ports.Cloud) -> None:
    identity = await any_cloud.identify()
    assert identity.mac == identity.mac.lower()
    assert identity.mac.count(":") == 5
    assert identity.primary_ip == IPv4Address("10.240.0.4")
    assert identity.vm_id
    view = await any_cloud.vnet(identity)
    assert any(identity.primary_ip in prefix for prefix in view.prefixes)


async def test_the_same_question_has_the_same_answer(any_cloud: ports.Cloud) -> None:
    assert await any_cloud.identify() == await any_cloud.identify()


async def test_the_primary_nic_is_found(world: AzureWorld, cloud: ArmCloud) -> None:
    identity = await cloud.identify()
    vm, nic = world.azure.vm("vm1"), world.azure.nic_record("vm1-nic")
    assert identity == NodeIdentity(
        vm_id=vm.guid,
        vm_resource_id=vm.id,
        nic_id=nic.id,  # type: ignore[arg-type]
        subnet_id=nic.subnet_id,  # type: ignore[arg-type]
        vnet_id=nic.subnet_id.removesuffix("/subnets/nodes"),  # type: ignore[arg-type]
        mac=nic.mac.lower().replace("-", ":"),
        primary_ip=IPv4Address("10.240.0.4"),
    )


async def test_by_order_a_node_hears_what_it_would_have_found(world: AzureWorld, cloud: ArmCloud) -> None:
    async with world.arm() as arm, ordering(arm) as (_, post):
        ordered = OrderedCloud(ImdsClaims(world.imds), post)
        assert await ordered.identify() == await cloud.identify()
        assert await ordered.vnet(await ordered.identify()) == await cloud.vnet(await cloud.identify())


async def test_by_order_nobody_hears_of_a_vm_that_is_another(world: AzureWorld) -> None:
    instance = await world.imds.instance()
    claim = MachineClaim("11111111-1111-1111-1111-111111111111", instance.resource_id, macs=())
    async with world.arm() as arm, ordering(arm) as (_, post):
        with pytest.raises(CloudNotFound, match=r"not this node.s VM; the controller.s log says why"):
            await post.ask(Identify(claim), NodeIdentity, what="identify this node")


async def test_by_order_a_uniform_scale_set_is_told_to_be_unsupported(world: AzureWorld) -> None:
    instance = await world.imds.instance()
    set_id = instance.resource_id.replace("virtualMachines/vm1", "virtualMachineScaleSets/pool/virtualMachines/0")
    async with world.arm() as arm, ordering(arm) as (_, post):
        with pytest.raises(RequestRefused, match=r"not supported yet: .* Uniform scale set 'pool'"):
            await post.ask(Identify(MachineClaim(instance.vm_id, set_id, macs=())), NodeIdentity, what="identify")


async def test_by_order_a_missing_permission_is_named(world: AzureWorld) -> None:
    world.azure.identity.forbid("Microsoft.Compute/virtualMachines/read")
    async with world.arm() as arm, ordering(arm) as (_, post):
        with pytest.raises(AccessDenied) as caught:
            await OrderedCloud(ImdsClaims(world.imds), post).identify()
    assert caught.value.action == "Microsoft.Compute/virtualMachines/read"


async def test_prefixes_of_the_vnet_and_its_peers(cloud: ArmCloud) -> None:
    view = await cloud.vnet(await cloud.identify())
    assert view.prefixes == (IPv4Network("10.240.0.0/16"), IPv4Network("10.250.0.0/16"))
    assert view.peered == (IPv4Network("10.241.0.0/16"),)


class OneDocument:
    """An Arm that has one thing to say."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document

    async def get(self, _: Resource) -> dict[str, Any]:
        return self.document


def peering(state: str, now: list[str], then: list[str] | None = None) -> dict[str, Any]:
    remote = {"remoteVirtualNetworkAddressSpace": {"addressPrefixes": now}}
    old = {"remoteAddressSpace": {"addressPrefixes": then}} if then else {}
    return {"properties": {"peeringState": state, **remote, **old}}


async def test_only_connected_peers_count_with_all_their_ipv4_prefixes(world: AzureWorld) -> None:
    document = {
        "properties": {
            "addressSpace": {"addressPrefixes": ["10.0.0.0/16", "fd00::/48"]},
            "virtualNetworkPeerings": [
                peering("Connected", ["10.2.0.0/16", "fd01::/48"], ["10.1.0.0/16"]),
                peering("Disconnected", ["10.3.0.0/16"]),
                peering("Initiated", ["10.4.0.0/16"]),
            ],
        }
    }
    view = await ArmCloud(world.imds, OneDocument(document)).vnet(IDENTITY)  # type: ignore[arg-type]
    assert view.prefixes == (IPv4Network("10.0.0.0/16"),)
    assert view.peered == (IPv4Network("10.1.0.0/16"), IPv4Network("10.2.0.0/16"))


@pytest.mark.parametrize(
    ("properties", "prefixes", "peered"),
    [
        ({"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}, "virtualNetworkPeerings": None}, 1, 0),
        ({"addressSpace": {"addressPrefixes": ["10.0.0.0/16", None, 5, "10.9.0.0/33", "10.8.3.1/16"]}}, 2, 0),
        (
            {
                "addressSpace": {"addressPrefixes": ["10.0.0.0/16"]},
                "virtualNetworkPeerings": [
                    None, {}, {"properties": None}, {"properties": {"peeringState": None}},
                    {"properties": {"peeringState": "Connected", "remoteVirtualNetworkAddressSpace": None}},
                    {"properties": {"peeringState": "Connected", "remoteAddressSpace": {"addressPrefixes": None}}},
                    peering("connected", ["10.2.0.0/16"]),
                ],
            },
            1,
            1,
        ),
    ],
    ids=["null peerings", "odd prefixes", "odd peerings"],
)  # fmt: skip
async def test_what_cannot_be_read_of_a_vnet_is_left_aside(
    world: AzureWorld, properties: dict[str, Any], prefixes: int, peered: int
) -> None:
    view = await ArmCloud(world.imds, OneDocument({"properties": properties})).vnet(IDENTITY)  # type: ignore[arg-type]
    assert (len(view.prefixes), len(view.peered)) == (prefixes, peered)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"properties": None},
        {"properties": {}},
        {"properties": {"addressSpace": None}},
        {"properties": {"addressSpace": {"addressPrefixes": ["fd00::/48"]}}},
        {"properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}, "virtualNetworkPeerings": "none"}},
    ],
)
async def test_what_is_not_a_vnet_is_told(world: AzureWorld, document: dict[str, Any]) -> None:
    with pytest.raises(CloudUnreachable, match=r"cannot read VNet .*: the answer"):
        await ArmCloud(world.imds, OneDocument(document)).vnet(IDENTITY)  # type: ignore[arg-type]


class Edited:
    """An Arm whose documents are edited on their way."""

    def __init__(self, arm: Arm, edits: dict[str, Any]) -> None:
        self.arm, self.edits = arm, edits

    async def get(self, resource: Resource) -> dict[str, Any]:
        document = await self.arm.get(resource)
        self.edits.get(resource.noun, lambda _: None)(document)
        return document


def put(*path: str | int, value: Any) -> Any:
    """An edit: the value at that place in the document."""

    def edit(document: Any) -> None:
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = value

    return edit


CONFIG = ("properties", "ipConfigurations", 0, "properties")


@pytest.mark.parametrize(
    ("noun", "edit", "words"),
    [
        ("vm", put("properties", value=None), "cannot read VM vm1: the answer is not what Azure documents"),
        ("vm", put("properties", "vmId", value=None), r"is VM \? in Azure"),
        ("vm", put("properties", "networkProfile", value=None), "no primary NIC"),
        ("vm", put("properties", "networkProfile", "networkInterfaces", value=None), "no primary NIC"),
        (
            "vm",
            put("properties", "networkProfile", "networkInterfaces", value=[None, {}, {"id": None}]),
            "no primary NIC",
        ),
        ("vm", put("properties", "networkProfile", "networkInterfaces", value="none"), "not what Azure documents"),
        ("nic", put("properties", value=None), "cannot read NIC vm1-nic: the answer is not what Azure documents"),
        ("nic", put("properties", "macAddress", value=None), "none yet"),
        ("nic", put("properties", "macAddress", value=5), "not what Azure documents"),
        ("nic", put("properties", "ipConfigurations", value=None), "shows no primary ipConfiguration"),
        ("nic", put(*CONFIG, "subnet", value=None), "names no subnet"),
        ("nic", put(*CONFIG, "subnet", "id", value=None), "names no subnet"),
        ("nic", put(*CONFIG, "subnet", "id", value="/subnets/s"), "names no subnet"),
        ("nic", put(*CONFIG, "privateIPAddress", value=None), "has no address yet"),
        ("nic", put(*CONFIG, "privateIPAddress", value="10.0.0.300"), "is no address"),
        ("nic", put(*CONFIG, "privateIPAddress", value="fd00::4"), "is IPv6"),
    ],
)
async def test_a_document_without_what_is_needed_is_told(world: AzureWorld, noun: str, edit: Any, words: str) -> None:
    async with world.arm() as arm:
        with pytest.raises(CloudError, match=words):
            await ArmCloud(world.imds, Edited(arm, {noun: edit})).identify()  # type: ignore[arg-type]


async def test_an_odd_entry_beside_the_vms_primary_nic_does_no_harm(world: AzureWorld) -> None:
    def crowd(vm: dict[str, Any]) -> None:
        vm["properties"]["networkProfile"]["networkInterfaces"] += [None, {}, {"id": 5}]

    async with world.arm() as arm:
        identity = await ArmCloud(world.imds, Edited(arm, {"vm": crowd})).identify()  # type: ignore[arg-type]
        assert identity == await ArmCloud(world.imds, arm).identify()


@pytest.mark.parametrize(
    ("environment", "configured", "refused"),
    [
        ("AzureUSGovernmentCloud", "AzurePublicCloud", "AzureUSGovernmentCloud, and azure.cloud is AzurePublicCloud"),
        ("AzureChinaCloud", "AzureUSGovernment", "set azure.cloud to AzureChinaCloud"),
        ("AzureUSGovernmentCloud", "AzureUSGovernment", ""),
        ("AzurePublicCloud", "AzurePublicCloud", ""),
        ("AzureStack", "AzurePublicCloud", ""),
        ("", "AzurePublicCloud", ""),
        ("AzureUSGovernmentCloud", "", ""),
    ],
)
async def test_a_vm_in_another_cloud_than_the_configured_one_is_told(
    world: AzureWorld, environment: str, configured: str, refused: str
) -> None:
    instance = await world.imds.instance()

    class There(Imds):
        async def instance(self) -> Any:
            return replace(instance, environment=environment)

    async with world.arm() as arm:
        cloud = ArmCloud(There(meter=world.meter), arm, cloud=configured)
        if refused:
            with pytest.raises(RequestRefused, match=refused):
                await cloud.identify()
            assert world.meter.of("vm.get") == []
        else:
            assert (await cloud.identify()).vm_id == instance.vm_id


async def test_a_vm_made_anew_under_the_name_is_another(world: AzureWorld, cloud: ArmCloud) -> None:
    vm = world.azure.vm("vm1")
    instance = await world.imds.instance()

    class Old(Imds):
        async def instance(self) -> Any:
            return replace(instance, vm_id="11111111-1111-1111-1111-111111111111")

    async with world.arm() as arm:
        old = ArmCloud(Old(meter=world.meter), arm)
        with pytest.raises(CloudNotFound, match=f"is VM {vm.guid} in Azure.*recreated under the same name"):
            await old.identify()


async def test_a_nic_with_another_mac_is_not_ours(world: AzureWorld) -> None:
    instance = await world.imds.instance()
    stranger = replace(instance.interfaces[0], mac="00:00:00:00:00:01")

    class Elsewhere(Imds):
        async def instance(self) -> Any:
            return replace(instance, interfaces=(stranger,))

    async with world.arm() as arm:
        with pytest.raises(CloudNotFound, match=r"vm1-nic': '00:0d:3a.*knows the MACs 00:00:00:00:00:01"):
            await ArmCloud(Elsewhere(meter=world.meter), arm).identify()


async def test_a_uniform_scale_set_is_told_to_be_unsupported(world: AzureWorld) -> None:
    instance = await world.imds.instance()
    set_id = instance.resource_id.replace("virtualMachines/vm1", "virtualMachineScaleSets/pool/virtualMachines/0")

    class Uniform(Imds):
        async def instance(self) -> Any:
            return replace(instance, resource_id=set_id, scale_set="pool")

    async with world.arm() as arm:
        with pytest.raises(RequestRefused, match=r"not supported yet: .* Uniform scale set 'pool'.*Flexible"):
            await ArmCloud(Uniform(meter=world.meter), arm).identify()


@pytest.mark.parametrize(
    "action",
    ["Microsoft.Compute/virtualMachines/read", "Microsoft.Network/networkInterfaces/read"],
)
async def test_a_missing_permission_is_named(world: AzureWorld, cloud: ArmCloud, action: str) -> None:
    world.azure.identity.forbid(action)
    with pytest.raises(AccessDenied) as caught:
        await cloud.identify()
    assert caught.value.action == action


async def test_a_vnet_that_may_not_be_read_is_named(world: AzureWorld, cloud: ArmCloud) -> None:
    identity = await cloud.identify()
    world.azure.identity.forbid("Microsoft.Network/virtualNetworks/read")
    with pytest.raises(AccessDenied) as caught:
        await cloud.vnet(identity)
    assert caught.value.scope == identity.vnet_id


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The credential changes the process's environment: the test's is put back."""
    for name in MISLEADING:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return monkeypatch


async def test_a_managed_identity_brings_the_token(world: AzureWorld, environment: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):  # the metadata service is never asked through a proxy
        environment.setenv(name, "http://127.0.0.1:9")
    async with world.arm(managed_identity(imds_url=world.endpoints.imds)) as arm:
        assert (await ArmCloud(world.imds, arm).identify()).vm_id == world.azure.vm("vm1").guid
    assert world.azure.calls["imds.token"] == 1


ELSEWHERE = {
    "workload identity": ["AZURE_FEDERATED_TOKEN_FILE", "AZURE_TENANT_ID", "AZURE_AUTHORITY_HOST", "AZURE_CLIENT_ID"],
    "Arc": ["IDENTITY_ENDPOINT", "IMDS_ENDPOINT"],
    "App Service": ["IDENTITY_ENDPOINT", "IDENTITY_HEADER"],
    "Service Fabric": ["IDENTITY_ENDPOINT", "IDENTITY_HEADER", "IDENTITY_SERVER_THUMBPRINT"],
    "Cloud Shell": ["MSI_ENDPOINT"],
    "Azure ML": ["MSI_ENDPOINT", "MSI_SECRET"],
    "pod identity": ["AZURE_POD_IDENTITY_AUTHORITY_HOST"],
}


@pytest.mark.parametrize("names", ELSEWHERE.values(), ids=ELSEWHERE)
async def test_nothing_in_the_environment_changes_a_managed_identity(
    world: AzureWorld, environment: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, names: list[str]
) -> None:
    for name in names:
        environment.setenv(name, "http://127.0.0.1:9/elsewhere")
    async with world.arm(managed_identity(imds_url=world.endpoints.imds)) as arm:
        assert (await ArmCloud(world.imds, arm).identify()).vm_id == world.azure.vm("vm1").guid
    assert world.azure.calls["imds.token"] == 1
    (warning,) = (record.__dict__ for record in caplog.records if record.name == "azure_cni.azure.credentials")
    assert set(warning["variables"].split(", ")) == set(names) & set(MISLEADING)


async def test_of_several_identities_one_must_be_named(world: AzureWorld, environment: pytest.MonkeyPatch) -> None:
    one, other = world.azure.add_identity("azure-cni"), world.azure.add_identity("other")
    world.azure.user_assigned["vm1"] = (one, other)
    async with world.arm(managed_identity(imds_url=world.endpoints.imds)) as arm:
        with pytest.raises(AccessDenied, match=r"this VM has several user-assigned identities; set azure\.clientID to"):
            await ArmCloud(world.imds, arm).identify()
    async with world.arm(managed_identity(client_id=one.client_id, imds_url=world.endpoints.imds)) as arm:
        await ArmCloud(world.imds, arm).identify()


async def test_a_single_user_assigned_identity_need_not_be_named(
    world: AzureWorld, environment: pytest.MonkeyPatch
) -> None:
    principal = world.azure.add_identity("azure-cni")
    world.azure.user_assigned["vm1"] = (principal,)
    async with world.arm(managed_identity(imds_url=world.endpoints.imds)) as arm:
        await ArmCloud(world.imds, arm).identify()
    assert {call.principal for call in world.azure.history.calls if call.operation == "vm.get"} == {principal.object_id}


async def test_a_user_assigned_identity_is_chosen_by_client_id(
    world: AzureWorld, environment: pytest.MonkeyPatch
) -> None:
    principal = world.azure.add_identity("azure-cni")
    async with world.arm(managed_identity(client_id=principal.client_id, imds_url=world.endpoints.imds)) as arm:
        await ArmCloud(world.imds, arm).identify()
    assert {call.principal for call in world.azure.history.calls if call.operation == "vm.get"} == {principal.object_id}


async def test_an_identity_that_the_vm_does_not_have(world: AzureWorld, environment: pytest.MonkeyPatch) -> None:
    async with world.arm(managed_identity(client_id="no-such-identity", imds_url=world.endpoints.imds)) as arm:
        with pytest.raises(AccessDenied, match=r"cannot read VM vm1: no token for the agent's identity.*assigned"):
            await ArmCloud(world.imds, arm).identify()
    assert world.meter.of("vm.get") == ["NoToken"]


async def test_a_workload_identity_exchanges_the_service_accounts_token(world: AzureWorld, tmp_path: Path) -> None:
    subject = "system:serviceaccount:kube-system:azure-cni"
    principal = world.azure.add_identity("azure-cni", subject=subject)
    token_file = tmp_path / "token"
    token_file.write_text(world.azure.identity.assertion(subject))
    cloud = cloud_named("AzurePublicCloud", endpoint=world.endpoints.arm, authority=world.endpoints.arm)
    credential = workload_identity(
        cloud,
        tenant_id=world.azure.identity.tenant,
        client_id=principal.client_id,
        token_file=token_file,
        ca_file=world.endpoints.ca_file,
    )
    async with world.arm(credential, cloud) as arm:
        assert (await ArmCloud(world.imds, arm).identify()).vm_id == world.azure.vm("vm1").guid


ODD_TOKENS = [
    b"", b"null", b"[]", b"{}", b"\xff", b"<html>sign in</html>", b"[" * 5000, b'{"access_token": null}',
    b'{"access_token": 7, "expires_in": "x"}', b'{"access_token": "t", "expires_in": null}',
    b'{"access_token": "t", "expires_in": [], "expires_on": {}}',
    b'{"access_token": "t\\r\\nx: y", "expires_in": "60"}',
    b'{"error": null}', b'{"error": 5, "error_description": []}',
]  # fmt: skip


@pytest.mark.parametrize("status", [200, 302, 400, 403])  # the SDK asks again after others, for half a minute
@pytest.mark.parametrize("content", ODD_TOKENS)
async def test_an_odd_answer_of_the_metadata_service_is_no_token(
    world: AzureWorld, environment: pytest.MonkeyPatch, content: bytes, status: int
) -> None:
    world.azure.faults.add(faults.OddBody(content, status), operation="imds.token", times=None)
    async with world.arm(managed_identity(imds_url=world.endpoints.imds)) as arm:
        with pytest.raises(CloudError, match="cannot read VM vm1: "):
            await ArmCloud(world.imds, arm).identify()


@pytest.mark.parametrize("status", [200, 302, 400, 403])  # the SDK asks again after others, for half a minute
@pytest.mark.parametrize("content", ODD_TOKENS)
async def test_an_odd_answer_of_the_token_service_is_no_token(
    world: AzureWorld, tmp_path: Path, content: bytes, status: int
) -> None:
    world.azure.faults.add(faults.OddBody(content, status), operation="token.exchange", times=None)
    token_file = tmp_path / "token"
    token_file.write_text("assertion")
    cloud = cloud_named("AzurePublicCloud", endpoint=world.endpoints.arm, authority=world.endpoints.arm)
    credential = workload_identity(
        cloud, tenant_id=world.azure.identity.tenant, client_id="c", token_file=token_file,
        ca_file=world.endpoints.ca_file,
    )  # fmt: skip
    async with world.arm(credential, cloud) as arm:
        with pytest.raises(CloudError, match="cannot read VM vm1: "):
            await ArmCloud(world.imds, arm).identify()


@pytest.mark.parametrize(
    "challenge",
    [
        "Bearer",
        'Bearer error="insufficient_claims", claims="!!!!"',
        'Bearer error="insufficient_claims", claims="gA=="',
        'Bearer authorization_uri="https://evil.example/t", resource="https://evil.example"',
        "Basic realm=proxy",
        "=,=,=",
    ],
)
async def test_an_odd_challenge_is_an_error_and_sends_the_token_nowhere(
    world: AzureWorld, cloud: ArmCloud, challenge: str
) -> None:
    odd = faults.OddBody(b"{}", 401, {"WWW-Authenticate": challenge})
    world.azure.faults.add(odd, operation="vm.get", times=None)
    with pytest.raises(CloudError, match="cannot read VM vm1: "):
        await cloud.identify()


async def test_a_workload_identity_without_its_token_file(world: AzureWorld, tmp_path: Path) -> None:
    cloud = cloud_named("AzurePublicCloud", endpoint=world.endpoints.arm, authority=world.endpoints.arm)
    credential = workload_identity(
        cloud, tenant_id=world.azure.identity.tenant, client_id="c", token_file=tmp_path / "none"
    )
    async with world.arm(credential, cloud) as arm:
        with pytest.raises(AccessDenied, match=r"no token for the agent's identity: .*none.*token mounted"):
            await ArmCloud(world.imds, arm).identify()


async def test_a_token_for_another_cloud_is_refused_with_words(world: AzureWorld) -> None:
    class Wrong(Token):
        def fresh(self) -> str:
            return "not.a.token"

    async with world.arm(Wrong(world.azure, "vm1")) as arm:
        with pytest.raises(AccessDenied, match="cannot read VM vm1: Azure denies it"):
            await ArmCloud(world.imds, arm).identify()


async def test_a_certificate_that_nobody_trusts_is_told(world: AzureWorld, tmp_path: Path) -> None:
    arm = Arm(
        cloud_named("AzurePublicCloud", endpoint=world.endpoints.arm), Token(world.azure, "vm1"), meter=world.meter
    )
    try:
        with pytest.raises(CloudUnreachable, match="certificate"):
            await ArmCloud(world.imds, arm).identify()
    finally:
        await arm.close()


async def test_silence_of_the_metadata_service_stops_the_question(world: AzureWorld, cloud: ArmCloud) -> None:
    world.azure.faults.add(faults.MetadataError(500), operation="imds.instance", times=None)
    with pytest.raises(CloudError, match="instance metadata"):
        await cloud.identify()
    assert world.meter.of("vm.get") == []
