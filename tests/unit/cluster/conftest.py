"""What tests of orders begin with: two nodes that are granted what they ask, and their VMs."""

from __future__ import annotations

import pytest

from azure_cni.node.ordered import OrderPost
from fakes.cluster import FakeCluster
from fakes.machines import FakeMachines
from fakes.ordering import post_of
from unit.cluster.ordering_nodes import granted


@pytest.fixture
def machines() -> FakeMachines:
    return FakeMachines("vm1", "vm2")


@pytest.fixture
def cluster() -> FakeCluster:
    made = FakeCluster()
    granted(made, "vm1")
    granted(made, "vm2")
    return made


@pytest.fixture
def post(cluster: FakeCluster) -> OrderPost:
    return post_of(cluster, "vm1")
