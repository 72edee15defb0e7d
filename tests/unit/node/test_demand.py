"""Which pods count: the list and what the watch shows meanwhile."""

from __future__ import annotations

from typing import Any

from azure_cni.ipam.ledger import Ledger
from azure_cni.node.pods.demand import Demand


def pod(name: str, **status: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "default", "name": name, "uid": f"uid-{name}"}, "spec": {}, "status": status}


def waiting(demand: Demand) -> int:
    return demand.waiting(Ledger((), cooling_s=0.0))


def test_a_pod_that_was_deleted_unseen_is_forgotten_with_the_next_list() -> None:
    demand = Demand()
    demand.observe_pod(pod("web-1"))
    demand.observe_pod(pod("web-2"))
    demand.begin_list()
    demand.replace([pod("web-2")])
    assert demand.pod("default", "web-1") is None
    assert waiting(demand) == 1


def test_a_pod_that_the_watch_showed_while_the_list_was_under_way_stays() -> None:
    demand = Demand()
    demand.begin_list()
    demand.observe_pod(pod("new"))
    demand.replace([])
    assert demand.pod("default", "new") is not None


def test_a_pod_that_the_watch_showed_gone_while_the_list_was_under_way_stays_gone() -> None:
    demand = Demand()
    demand.observe_pod(pod("old"))
    demand.begin_list()
    demand.forget_pod("uid-old")
    demand.replace([pod("old")])
    assert demand.pod("default", "old") is None


def test_what_the_watch_showed_meanwhile_is_newer_than_the_list() -> None:
    demand = Demand()
    demand.begin_list()
    demand.observe_pod(pod("web", podIP="10.240.0.9"))
    demand.replace([pod("web")])
    assert waiting(demand) == 0


def test_what_was_shown_before_the_list_began_is_older() -> None:
    demand = Demand()
    demand.observe_pod(pod("web"))
    demand.begin_list()
    demand.replace([pod("web", podIP="10.240.0.9")])
    assert waiting(demand) == 0


def test_pods_that_never_need_an_address_do_not_count_in_a_list_either() -> None:
    demand = Demand()
    demand.begin_list()
    demand.replace([{**pod("host"), "spec": {"hostNetwork": True}}, pod("done", phase="Succeeded"), pod("web")])
    assert waiting(demand) == 1


def test_a_pod_on_the_nodes_network_counts_only_where_it_asks_in_vain() -> None:
    gates = {"hostNetwork": True, "readinessGates": [{"conditionType": "azure-cni.io/load-balancer-attached"}]}
    gated = {**pod("gated", podIP="10.0.0.4"), "spec": gates}
    demand = Demand()
    demand.observe_pod(gated)
    demand.observe_pod({**pod("host"), "spec": {"hostNetwork": True}})
    assert ([it.name for it in demand.asking_in_vain], waiting(demand), list(demand.pods)) == (["gated"], 0, [])
    assert demand.pod("default", "gated") is None, "it holds no address"
    demand.begin_list()
    demand.replace([gated])
    assert [it.name for it in demand.asking_in_vain] == ["gated"]
    demand.forget_pod("uid-gated")
    assert not demand.asking_in_vain


def test_an_empty_list_is_a_list() -> None:
    demand = Demand()
    assert not demand.listed
    demand.replace([])
    assert demand.listed
