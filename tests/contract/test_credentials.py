"""Tokens of managed and workload identities: where they come from, what is no token, and who never gets one."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import fakeazure as faults
from azure_cni.azure.arm import Arm
from azure_cni.azure.credentials import MISLEADING, managed_identity, workload_identity
from azure_cni.azure.endpoints import cloud_named
from azure_cni.azure.resources import Resource
from azure_cni.azure.vm_identity import ArmVmIdentity
from azure_cni.errors import AccessDenied, CloudError, CloudUnreachable
from contract.azure_world import Token
from contract.identify_world import AzureWorld, open_world


@pytest.fixture
async def world() -> AsyncIterator[AzureWorld]:
    async with open_world() as opened:
        yield opened


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
        assert (await ArmVmIdentity(world.imds, arm).identify()).vm_id == world.azure.vm("vm1").guid
    assert world.azure.calls["imds.token"] == 1


async def test_no_token_is_in_the_log_at_any_level(
    world: AzureWorld, environment: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of calls that succeed, that are refused, and that are not understood; neither ours nor the SDK's."""
    caplog.set_level("DEBUG")
    for name in ("azure", "azure.identity", "azure.core", "azure_cni"):
        caplog.set_level("DEBUG", logger=name)
    credential = managed_identity(imds_url=world.endpoints.imds)
    async with world.arm(credential) as arm:
        await ArmVmIdentity(world.imds, arm).identify()
        world.azure.identity.set_permissions(("Microsoft.Compute/nothing",))
        with pytest.raises(AccessDenied):
            await ArmVmIdentity(world.imds, arm).identify()
        token = (await credential.get_token("https://management.azure.com/.default")).token
    assert len(token) > 20
    assert caplog.records
    assert [record for record in caplog.records if token in f"{record.getMessage()} {record.__dict__}"] == []


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
        assert (await ArmVmIdentity(world.imds, arm).identify()).vm_id == world.azure.vm("vm1").guid
    assert world.azure.calls["imds.token"] == 1
    (warning,) = (record.__dict__ for record in caplog.records if record.name == "azure_cni.azure.credentials")
    assert set(warning["variables"].split(", ")) == set(names) & set(MISLEADING)


async def test_of_several_identities_one_must_be_named(world: AzureWorld, environment: pytest.MonkeyPatch) -> None:
    one, other = world.azure.add_identity("azure-cni"), world.azure.add_identity("other")
    world.azure.user_assigned["vm1"] = (one, other)
    async with world.arm(managed_identity(imds_url=world.endpoints.imds)) as arm:
        with pytest.raises(AccessDenied, match=r"this VM has several user-assigned identities; set azure\.clientID to"):
            await ArmVmIdentity(world.imds, arm).identify()
    async with world.arm(managed_identity(client_id=one.client_id, imds_url=world.endpoints.imds)) as arm:
        await ArmVmIdentity(world.imds, arm).identify()


async def test_a_single_user_assigned_identity_need_not_be_named(
    world: AzureWorld, environment: pytest.MonkeyPatch
) -> None:
    principal = world.azure.add_identity("azure-cni")
    world.azure.user_assigned["vm1"] = (principal,)
    async with world.arm(managed_identity(imds_url=world.endpoints.imds)) as arm:
        await ArmVmIdentity(world.imds, arm).identify()
    assert {call.principal for call in world.azure.history.calls if call.operation == "vm.get"} == {principal.object_id}


async def test_a_user_assigned_identity_is_chosen_by_client_id(
    world: AzureWorld, environment: pytest.MonkeyPatch
) -> None:
    principal = world.azure.add_identity("azure-cni")
    async with world.arm(managed_identity(client_id=principal.client_id, imds_url=world.endpoints.imds)) as arm:
        await ArmVmIdentity(world.imds, arm).identify()
    assert {call.principal for call in world.azure.history.calls if call.operation == "vm.get"} == {principal.object_id}


async def test_a_token_that_has_expired_is_not_used_again_whatever_this_machines_clock_says(
    world: AzureWorld, environment: pytest.MonkeyPatch
) -> None:
    """The clock was set back: by it, the token that Azure refuses has hours to live."""
    identity, vm = world.azure.identity, Resource.parse(world.azure.vm("vm1").id)
    async with world.arm(managed_identity(imds_url=world.endpoints.imds)) as arm:
        await arm.get(vm)
        identity.wall = lambda: time.time() + 3 * identity.lifetime_s
        with pytest.raises(AccessDenied, match="expiry"):
            await arm.get(vm)
        await arm.get(vm)
        identity.wall = lambda: time.time() + 6 * identity.lifetime_s
        for _ in range(3):  # and the token service is not asked each time
            with pytest.raises(AccessDenied, match="expiry"):
                await arm.get(vm)
    assert world.azure.calls["imds.token"] == 2


async def test_an_identity_that_the_vm_does_not_have(world: AzureWorld, environment: pytest.MonkeyPatch) -> None:
    async with world.arm(managed_identity(client_id="no-such-identity", imds_url=world.endpoints.imds)) as arm:
        with pytest.raises(AccessDenied, match=r"cannot read VM vm1: no token for the agent's identity.*assigned"):
            await ArmVmIdentity(world.imds, arm).identify()
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
        assert (await ArmVmIdentity(world.imds, arm).identify()).vm_id == world.azure.vm("vm1").guid


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
            await ArmVmIdentity(world.imds, arm).identify()


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
            await ArmVmIdentity(world.imds, arm).identify()


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
async def test_an_odd_challenge_is_an_error_and_sends_the_token_nowhere(world: AzureWorld, challenge: str) -> None:
    odd = faults.OddBody(b"{}", 401, {"WWW-Authenticate": challenge})
    world.azure.faults.add(odd, operation="vm.get", times=None)
    async with world.arm() as arm:
        with pytest.raises(CloudError, match="cannot read VM vm1: "):
            await ArmVmIdentity(world.imds, arm).identify()


async def test_a_workload_identity_without_its_token_file(world: AzureWorld, tmp_path: Path) -> None:
    cloud = cloud_named("AzurePublicCloud", endpoint=world.endpoints.arm, authority=world.endpoints.arm)
    credential = workload_identity(
        cloud, tenant_id=world.azure.identity.tenant, client_id="c", token_file=tmp_path / "none"
    )
    async with world.arm(credential, cloud) as arm:
        with pytest.raises(AccessDenied, match=r"no token for the agent's identity: .*none.*token mounted"):
            await ArmVmIdentity(world.imds, arm).identify()


async def test_a_token_for_another_cloud_is_refused_with_words(world: AzureWorld) -> None:
    class Wrong(Token):
        def fresh(self) -> str:
            return "not.a.token"

    async with world.arm(Wrong(world.azure, "vm1")) as arm:
        with pytest.raises(AccessDenied, match="cannot read VM vm1: Azure denies it"):
            await ArmVmIdentity(world.imds, arm).identify()


async def test_a_certificate_that_nobody_trusts_is_reported(world: AzureWorld, tmp_path: Path) -> None:
    arm = Arm(
        cloud_named("AzurePublicCloud", endpoint=world.endpoints.arm), Token(world.azure, "vm1"), meter=world.meter
    )
    try:
        with pytest.raises(CloudUnreachable, match="certificate"):
            await ArmVmIdentity(world.imds, arm).identify()
    finally:
        await arm.close()
