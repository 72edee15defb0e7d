"""All that an agent logs in its life, at the level that says most: no token in it, of Azure or of the API server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.__main__ import build_plugin
from datapath.docker_process import DockerVm
from datapath.namespaces import NEEDS_ROOT, Namespaces
from datapath.test_agent_docker import cni
from fakeazure import FakeAzure
from fakes.kubeapi import TOKEN
from soak.log_lines import TOKEN as AZURES_TOKEN

pytestmark = NEEDS_ROOT


@pytest.fixture
def node(
    namespaces: Namespaces, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DockerVm]:
    monkeypatch.setenv("LOG_LEVEL", "debug")
    plugin = build_plugin(tmp_path_factory.mktemp("plugin"))
    started = DockerVm(namespaces, tmp_path, str(plugin), module="datapath.agent_vm")
    yield started
    started.kill()


def test_tokens_of_azure_have_this_form():
    assert AZURES_TOKEN.search(FakeAzure(seed=7).identity.assertion("somebody"))


def test_no_token_is_in_the_log_of_an_agents_life(node: DockerVm, namespaces: Namespaces):
    assert node.status("--wait", "60")[0] == 0, node.said
    pod = namespaces.new("pod")
    status, result = cni(node, "add", pod.path)
    assert status == 200, result
    assert cni(node, "del", pod.path) == (200, {})
    assert cni(node, "add", "")[0] == 400
    assert node.end() == 0, node.said
    assert " DEBUG " in node.said
    assert [line for line in node.said.splitlines() if TOKEN in line or AZURES_TOKEN.search(line)] == []
    assert "Bearer" not in node.said
