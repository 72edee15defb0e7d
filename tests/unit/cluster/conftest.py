"""What tests of operations begin with: two nodes that are granted what they ask, and their VMs."""

from __future__ import annotations

import pytest

from azure_cni.kube.delegated_nic import OperationClient
from fakes.cluster import FakeCluster
from fakes.delegation import post_of
from fakes.machines import FakeMachines
from unit.cluster.delegating_nodes import granted


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
def post(cluster: FakeCluster) -> OperationClient:
    return post_of(cluster, "vm1")
