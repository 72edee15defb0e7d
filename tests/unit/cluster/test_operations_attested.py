"""Proof of possession: which nodes must attest their VM, what that proves, and what knowing a VM's IDs is worth."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from azure_cni.api.nic_operation import Challenge, Identify, ReadNic, WriteNic
from azure_cni.api.node_ip_pool import parse
from azure_cni.cluster.possession import Required
from azure_cni.errors import AccessDenied, CloudNotFound, NotAttested, Throttled
from azure_cni.kube.delegated_nic import OperationClient
from azure_cni.model.identity import NodeIdentity
from azure_cni.model.nic import NicView
from fakes.attestations import FakeAttestations, attesting, written
from fakes.cluster import FakeCluster
from fakes.delegation import executing, post_of
from fakes.machines import FakeMachines
from unit.cluster.delegating_nodes import CLAIM, CLAIM2, VM1, VM2, granted

pytestmark = pytest.mark.looptime

Attest = Callable[[str], Awaitable[str]]


def named(cluster: FakeCluster, node: str, vm: NodeIdentity) -> None:
    """A Node that says which VM it is."""
    cluster.provider_ids[node] = f"azure://{vm.vm_resource_id}"


async def other(nonce: str) -> str:
    """A service that gives a document of another time."""
    return written("vm1", f"{int(nonce) ^ 1}")


async def nothing(_: str) -> str:
    """An agent that sends no document."""
    return ""


@pytest.fixture
def proofs() -> FakeAttestations:
    return FakeAttestations()


# Who must attest.


@pytest.mark.parametrize(
    ("required", "provider_id", "proven"),
    [
        (Required.WITHOUT_PROVIDER_ID, "", 1),
        (Required.WITHOUT_PROVIDER_ID, "kind://docker/kind/vm1", 1),
        (Required.WITHOUT_PROVIDER_ID, "azure://elsewhere", 1),
        (Required.WITHOUT_PROVIDER_ID, f"azure://{VM1.vm_resource_id}", 0),
        (Required.ALWAYS, f"azure://{VM1.vm_resource_id}", 1),
        (Required.ALWAYS, "", 1),
        (Required.NEVER, "", 0),
    ],
)
async def test_a_node_attests_its_vm_where_its_node_object_does_not_name_it(
    cluster: FakeCluster,
    machines: FakeMachines,
    proofs: FakeAttestations,
    required: Required,
    provider_id: str,
    proven: int,
) -> None:
    cluster.provider_ids["vm1"] = provider_id
    async with executing(cluster, machines, attestations=proofs, required=required):
        assert await post_of(cluster, "vm1").request(Identify(CLAIM), NodeIdentity, what="x") == VM1
    assert len(proofs.verified) == proven


@pytest.mark.parametrize("operation", [Identify(CLAIM2), ReadNic(CLAIM2, VM2.nic_id)])
@pytest.mark.parametrize("attest", [attesting("vm1"), other, nothing], ids=["its own", "an old one", "none"])
async def test_to_know_what_a_vm_is_known_by_is_not_to_be_it(
    cluster: FakeCluster, machines: FakeMachines, operation: Identify | ReadNic, attest: Attest
) -> None:
    """What was served before: a GUID and MACs, however they were found out."""
    async with executing(cluster, machines):
        with pytest.raises(NotAttested):
            await post_of(cluster, "vm1", attest=attest).request(operation, NodeIdentity, what="x")
    assert machines.asked == 0
    assert machines.nics["vm2"].writes == 0


async def test_the_document_of_another_node_is_no_proof_for_this_one(
    cluster: FakeCluster, machines: FakeMachines
) -> None:
    """All agents can read all pools, and so documents: each answers a nonce of its own."""
    async with executing(cluster, machines):
        await post_of(cluster, "vm2").request(Identify(CLAIM2), NodeIdentity, what="x")
        seen = cluster.status("vm2")["nicOperation"]["document"]
        cluster.pools.delete("vm2")

        async def replayed(_: str) -> str:
            return str(seen)

        with pytest.raises(NotAttested, match="answers another nonce"):
            await post_of(cluster, "vm1", attest=replayed).request(Identify(CLAIM2), NodeIdentity, what="x")


async def test_a_nonce_is_good_for_one_document(cluster: FakeCluster, machines: FakeMachines) -> None:
    nonces: list[str] = []

    async def remembered(nonce: str) -> str:
        nonces.append(nonce)
        return written("vm1", nonces[0])

    async with executing(cluster, machines):
        post = post_of(cluster, "vm1", attest=remembered)
        await post.request(Identify(CLAIM), NodeIdentity, what="x")
        cluster.pools.delete("vm1")
        granted(cluster, "vm1")
        with pytest.raises(NotAttested):
            await post_of(cluster, "vm1", attest=remembered).request(Identify(CLAIM), NodeIdentity, what="x")
    assert len(set(nonces)) == 2
    assert all(len(nonce) == 10 and nonce.isdecimal() for nonce in nonces)


async def test_a_document_without_a_challenge_is_no_proof(cluster: FakeCluster, machines: FakeMachines) -> None:
    async with executing(cluster, machines):
        with pytest.raises(NotAttested, match="answers another nonce"):
            await post_of(cluster, "vm1").request(Identify(CLAIM, written("vm1", "")), NodeIdentity, what="x")


async def test_a_node_that_may_not_be_served_reads_what_to_do(
    cluster: FakeCluster, machines: FakeMachines, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    old = OperationClient(post_of(cluster, "vm1")._pools)  # an agent that cannot attest
    cluster.pools.watchers.append(lambda _, after: old.see(parse(after)) if after else None)
    async with executing(cluster, machines):
        with pytest.raises(NotAttested) as caught:
            await old.request(Identify(CLAIM), NodeIdentity, what="identify this node")
    words = str(caught.value)
    assert "its Node names no VM of Azure in spec.providerID" in words
    assert "upgrade it" in words
    assert "azure.attestation.required=never" in words
    assert "guid-of" not in words
    assert "the node must attest which VM it is" in caplog.messages


# What is attested once.


async def test_a_vm_is_attested_once_as_long_as_there_is_the_pool(
    cluster: FakeCluster, machines: FakeMachines, proofs: FakeAttestations
) -> None:
    async with executing(cluster, machines, attestations=proofs):
        for post in (post_of(cluster, "vm1"), post_of(cluster, "vm1")):  # the agent starts again
            await post.request(Identify(CLAIM), NodeIdentity, what="x")
            await post.request(ReadNic(CLAIM, VM1.nic_id), NicView, what="x")
    async with executing(cluster, machines, attestations=proofs):  # and another controller takes over
        assert await post_of(cluster, "vm1", attest=nothing).request(ReadNic(CLAIM, VM1.nic_id), NicView, what="x")
    assert len(proofs.verified) == 1
    cluster.pools.delete("vm1")
    granted(cluster, "vm1")
    async with executing(cluster, machines, attestations=proofs):
        await post_of(cluster, "vm1").request(Identify(CLAIM), NodeIdentity, what="x")
    assert len(proofs.verified) == 2


async def test_another_vm_under_the_same_name_attests_again(
    cluster: FakeCluster, machines: FakeMachines, proofs: FakeAttestations
) -> None:
    async with executing(cluster, machines, attestations=proofs):
        await post_of(cluster, "vm1").request(Identify(CLAIM), NodeIdentity, what="x")
        with pytest.raises(NotAttested):
            await post_of(cluster, "vm1").request(Identify(CLAIM2), NodeIdentity, what="x")
        moved = post_of(cluster, "vm1", attest=attesting("vm2"))
        assert await moved.request(Identify(CLAIM2), NodeIdentity, what="x") == VM2
    assert len(proofs.verified) == 2


async def test_any_operation_is_put_off_until_the_vm_is_attested_and_then_carried_out(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient
) -> None:
    """The pool was deleted under an agent that runs: its next operation finds nothing attested."""
    etag = (await machines.read(VM1.nic_id)).etag
    async with executing(cluster, machines):
        operation = WriteNic(CLAIM, VM1.nic_id, etag, add=3, remove=(), grant_number=0)
        assert len((await post.request(operation, NicView, what="x")).secondaries) == 3
    assert machines.nics["vm1"].writes == 1


async def test_what_was_attested_before_azure_refused_is_not_attested_again(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient, proofs: FakeAttestations
) -> None:
    machines.fail_next = Throttled("cannot: 429")
    async with executing(cluster, machines, attestations=proofs):
        with pytest.raises(Throttled):
            await post.request(Identify(CLAIM), NodeIdentity, what="x")
        assert await post.request(Identify(CLAIM), NodeIdentity, what="x") == VM1
    assert len(proofs.verified) == 1


async def test_a_controller_that_dies_between_challenge_and_document_leaves_both_to_the_next(
    cluster: FakeCluster, machines: FakeMachines
) -> None:
    post = post_of(cluster, "vm1")
    async with executing(cluster, machines):
        challenge = await post._exchange(Identify(CLAIM), what="x")
    assert isinstance(challenge, Challenge)
    async with executing(cluster, machines):
        assert await post._prove(Identify(CLAIM), challenge, what="x") == VM1


# Where two say that they are the same VM.


async def test_who_attests_a_vm_has_it_whoever_claimed_it_before(cluster: FakeCluster, machines: FakeMachines) -> None:
    """One that was believed before, by a former version or by azure.attestation.required=never."""
    thief, own = post_of(cluster, "vm1"), post_of(cluster, "vm2")
    async with executing(cluster, machines, required=Required.NEVER):
        await thief.request(Identify(CLAIM2), NodeIdentity, what="x")
    async with executing(cluster, machines):
        assert await own.request(Identify(CLAIM2), NodeIdentity, what="x") == VM2
        with pytest.raises(NotAttested):
            await thief.request(ReadNic(CLAIM2, VM2.nic_id), NicView, what="x")
        assert await own.request(ReadNic(CLAIM2, VM2.nic_id), NicView, what="x")
    async with executing(cluster, machines, required=Required.NEVER):
        with pytest.raises(AccessDenied, match="not this node's VM"):
            await thief.request(ReadNic(CLAIM2, VM2.nic_id), NicView, what="x")
        assert await own.request(ReadNic(CLAIM2, VM2.nic_id), NicView, what="x")


async def test_a_node_object_that_names_anothers_vm_keeps_it_only_until_that_one_attests(
    cluster: FakeCluster, machines: FakeMachines, proofs: FakeAttestations
) -> None:
    """A kubelet may write it once, where there is no cloud provider."""
    named(cluster, "vm1", VM2)
    named(cluster, "vm2", VM2)
    thief, own = post_of(cluster, "vm1"), post_of(cluster, "vm2")
    async with executing(cluster, machines, attestations=proofs):
        await thief.request(Identify(CLAIM2), NodeIdentity, what="x")
        assert not proofs.verified
        assert await own.request(Identify(CLAIM2), NodeIdentity, what="x") == VM2
        with pytest.raises(AccessDenied, match="not this node's VM"):
            await thief.request(ReadNic(CLAIM2, VM2.nic_id), NicView, what="x")
    assert len(proofs.verified) == 1


async def test_of_two_that_attest_one_vm_the_first_keeps_it_until_its_pool_goes(
    cluster: FakeCluster, machines: FakeMachines
) -> None:
    """The node was renamed: its VM can attest for both names."""
    renamed = post_of(cluster, "vm1", attest=attesting("vm2"))
    async with executing(cluster, machines):
        await post_of(cluster, "vm2").request(Identify(CLAIM2), NodeIdentity, what="x")
        with pytest.raises(AccessDenied, match="not this node's VM; the controller's log"):
            await renamed.request(Identify(CLAIM2), NodeIdentity, what="x")
        cluster.pools.delete("vm2")
        assert await renamed.request(Identify(CLAIM2), NodeIdentity, what="x") == VM2


async def test_what_a_node_attests_and_its_node_object_denies_is_refused(
    cluster: FakeCluster, machines: FakeMachines
) -> None:
    named(cluster, "vm1", VM1)
    post = post_of(cluster, "vm1", attest=attesting("vm2"))
    async with executing(cluster, machines, required=Required.ALWAYS):
        with pytest.raises(AccessDenied, match="not this node's VM"):
            await post.request(Identify(CLAIM2), NodeIdentity, what="x")


async def test_a_vm_that_azure_does_not_know_is_nobodys(cluster: FakeCluster, machines: FakeMachines) -> None:
    machines.fail_next = CloudNotFound("cannot identify this node: no such VM")
    async with executing(cluster, machines):
        with pytest.raises(CloudNotFound, match="not this node's VM"):
            await post_of(cluster, "vm1").request(Identify(CLAIM), NodeIdentity, what="x")
