"""What a pod asks of the VNet: which annotations are understood, and what is said of the others."""

from __future__ import annotations

import pytest

from azure_cni.api.pod_annotations import LOAD_BALANCER_POOLS, MOST_POOLS, NOTHING, PUBLIC_IP, read_annotations
from azure_cni.model.attachments import AttachedResource

GROUP = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/shop/providers/Microsoft.Network"
POOL = f"{GROUP}/loadBalancers/front/backendAddressPools/web"
ADDRESS = f"{GROUP}/publicIPAddresses/shop-ip"


def names(**annotations: str) -> list[str]:
    return sorted(str(resource) for resource in read_annotations(annotations).resources)


def test_a_pod_without_annotations_asks_for_nothing() -> None:
    assert read_annotations({}) is NOTHING
    assert read_annotations({"other.io/load-balancer-pools": POOL}) is NOTHING


def test_pools_and_a_public_address_are_found() -> None:
    annotations = {LOAD_BALANCER_POOLS: f" {POOL}, {POOL}2 ,", PUBLIC_IP: ADDRESS}
    assert names(**annotations) == [
        "load balancer pool front/web",
        "load balancer pool front/web2",
        "public IP address shop-ip",
    ]
    assert read_annotations(annotations).faults == ()


def test_two_spellings_are_one_resource() -> None:
    found = read_annotations({LOAD_BALANCER_POOLS: f"{POOL},{POOL.upper()}"}).resources
    assert len(found) == 1
    assert found == {AttachedResource.parse(POOL.lower())}


@pytest.mark.parametrize(
    "written",
    [
        "web",
        ADDRESS,
        POOL + "/",
        POOL.replace("/subscriptions", "subscriptions"),
        POOL.replace("Microsoft.Network", "Microsoft.Compute"),
        POOL.replace("front", "../front"),
        f"{POOL}\nx",
        POOL.replace("web", "w\u00e4b"),
        POOL.replace("web", "w" * 2000),
        "\x1b[31m",
    ],
)
def test_what_is_no_pool_is_named_and_ignored(written: str) -> None:
    found = read_annotations({LOAD_BALANCER_POOLS: written})
    assert found.resources == frozenset()
    (fault,) = found.faults
    assert fault.startswith(f"{LOAD_BALANCER_POOLS} has '")
    assert fault.endswith("which is not the resource ID of a load balancer pool")
    assert fault.isprintable()
    assert len(fault) < 200


def test_one_bad_id_does_not_take_the_good_one_with_it() -> None:
    found = read_annotations({LOAD_BALANCER_POOLS: f"web,{POOL}", PUBLIC_IP: ADDRESS})
    assert len(found.resources) == 2
    assert len(found.faults) == 1


def test_a_pod_has_one_public_address_and_few_pools() -> None:
    found = read_annotations({PUBLIC_IP: f"{ADDRESS},{ADDRESS}2"})
    assert found.resources == frozenset()
    assert found.faults == ("azure-cni.io/public-ip has 2 resource IDs, and 1 is the most",)
    many = ",".join(f"{POOL}{number}" for number in range(MOST_POOLS + 1))
    assert read_annotations({LOAD_BALANCER_POOLS: many}).resources == frozenset()


def test_annotations_of_another_type_are_none() -> None:
    assert read_annotations({LOAD_BALANCER_POOLS: 7, PUBLIC_IP: None}).resources == frozenset()
