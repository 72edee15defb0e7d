import json
import re
from pathlib import Path

import pytest

from azure_cni.ipam import sizing
from azure_cni.ipam.limits import MAX_ADDRESSES_PER_NODE
from unit.chart.helm import REPOSITORY
from unit.documentation.markdown import PAGES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_module_that_is_named_exists(page: Path):
    named = set(re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", page.read_text()))
    roots = (REPOSITORY, REPOSITORY / "operator" / "azure_cni", page.parent)
    assert [path for path in sorted(named) if not any((root / path).exists() for root in roots)] == []


def test_the_readme_explains_every_permission_of_the_role():
    role = json.loads((REPOSITORY / "docs" / "azure-role.json").read_text())
    explained = re.findall(r"^\| `(Microsoft\.[\w./]+)` \| ", (REPOSITORY / "README.md").read_text(), re.MULTILINE)
    assert explained == role["Actions"]


def test_each_shape_has_a_role_and_none_has_more_than_the_whole():
    roles = {path.stem: json.loads(path.read_text()) for path in (REPOSITORY / "docs").glob("azure-role*.json")}
    whole, agent, controller, network = (
        roles.pop(name)["Actions"]
        for name in ("azure-role", "azure-role-agent", "azure-role-controller", "azure-role-network-reader")
    )
    assert not roles
    assert {*agent, *controller, *network} == set(whole)
    assert set(agent) & set(controller) == {"Microsoft.Network/networkInterfaces/read"}
    assert not set(network) & {*agent, *controller}
    for action in (*controller, *network):
        assert action.endswith("/read")


def test_the_example_of_a_subnets_size_is_what_pools_would_take():
    """10 nodes with 110 pods each, of which half end within the time that an address cools."""
    nodes, pods, ended = 10, 110, 55
    quiet = sizing.target(sizing.Policy(), assigned=pods, waiting=0, cooling=0)
    busy = sizing.target(sizing.Policy(), assigned=pods, waiting=0, cooling=ended)
    own = nodes + 5
    numbers = {
        nodes * quiet,
        own,
        nodes * quiet + own,
        nodes * (busy - quiet),
        quiet + 1,
        nodes * busy + own + quiet + 1,
        nodes * MAX_ADDRESSES_PER_NODE + own,
    }
    section = (REPOSITORY / "docs" / "install.md").read_text().partition("### How large must the subnet be?")[2]
    said = {int(number.replace(",", "")) for number in re.findall(r"[\d,]*\d", section.partition("\n## ")[0])}
    assert numbers <= said
