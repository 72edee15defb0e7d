"""What the annotations about egress mean, and who may write them."""

from __future__ import annotations

import pytest

from azure_cni.api.egress import INVALID, NOT_ALLOWED, Egress, EgressNamespaces, choose

SHOP = EgressNamespaces.of(["shop"])


@pytest.mark.parametrize(
    ("pod", "namespace", "egress"),
    [
        ("", "", Egress.NODE),
        ("pod", "", Egress.POD),
        ("", "pod", Egress.POD),
        ("node", "pod", Egress.NODE),
        ("pod", "node", Egress.POD),
        ("", "node", Egress.NODE),
    ],
)
def test_the_pods_annotation_wins_over_its_namespaces(pod: str, namespace: str, egress: Egress) -> None:
    choice = choose(pod=pod, namespace=namespace, name="shop", allowed=SHOP)
    assert (choice.egress, choice.refusal, choice.message) == (egress, "", "")


@pytest.mark.parametrize("value", ["Pod", "true", " pod", "pod,node"])
def test_another_value_is_nodes_egress_and_says_what_it_may_be(value: str) -> None:
    choice = choose(pod=value, namespace="pod", name="shop", allowed=SHOP)
    assert (choice.egress, choice.refusal) == (Egress.NODE, INVALID)
    assert f'the annotation azure-cni.io/egress of the pod is "{value}", and must be "pod" or "node"' in choice.message
    choice = choose(pod="", namespace=value, name="shop", allowed=SHOP)
    assert f'of the namespace shop is "{value}"' in choice.message


def test_what_is_not_allowed_names_the_value_of_the_chart() -> None:
    for pod, namespace in (("pod", ""), ("", "pod")):
        choice = choose(pod=pod, namespace=namespace, name="blog", allowed=SHOP)
        assert (choice.egress, choice.refusal) == (Egress.NODE, NOT_ALLOWED)
        assert "add blog to the value podNetworking.egress.namespaces" in choice.message
    assert choose(pod="node", namespace="", name="blog", allowed=SHOP).refusal == ""


def test_nobody_may_unless_named_and_a_star_names_all() -> None:
    assert not EgressNamespaces.of([""])
    assert not EgressNamespaces.of([]).include("shop")
    assert EgressNamespaces.of(["*"]).include("shop")
    assert not EgressNamespaces.of(["shop-2"]).include("shop")


def test_what_a_tenant_wrote_is_shown_on_one_line_without_control_characters() -> None:
    said = choose(pod="po\nd\x1b[31m", namespace="", name="shop", allowed=EgressNamespaces.of(["shop"]))
    assert 'of the pod is "po?d?[31m", and must be' in said.message
