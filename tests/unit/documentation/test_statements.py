import ast
import inspect
import json
import re
import subprocess
from pathlib import Path

import pytest

from azure_cni.ipam import sizing
from azure_cni.quota import pool_updates
from unit.chart.helm import REPOSITORY
from unit.documentation import sizing_table
from unit.documentation.markdown import PAGES, anchors, blocks


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_module_that_is_named_exists(page: Path):
    named = set(re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", page.read_text()))
    roots = (REPOSITORY, REPOSITORY / "operator" / "azure_cni", page.parent)
    assert [path for path in sorted(named) if not any((root / path).exists() for root in roots)] == []


def test_every_permission_of_the_role_is_explained():
    whole, of_sets = (
        json.loads((REPOSITORY / "docs" / f"{name}.json").read_text())["Actions"]
        for name in ("azure-role", "azure-role-scale-sets")
    )
    explained = re.findall(
        r"^\| `(Microsoft\.[\w./]+)` \| ", (REPOSITORY / "docs" / "install.md").read_text(), re.MULTILINE
    )
    assert explained == whole + of_sets


def test_each_shape_has_a_role_and_none_has_more_than_the_whole():
    roles = {path.stem: json.loads(path.read_text()) for path in (REPOSITORY / "docs").glob("azure-role*.json")}
    whole, agent, controller, network, of_sets = (
        roles.pop(name)["Actions"]
        for name in (
            "azure-role",
            "azure-role-agent",
            "azure-role-controller",
            "azure-role-network-reader",
            "azure-role-scale-sets",
        )
    )
    assert not roles
    assert not set(of_sets) & set(whole), "who has no such set needs none of these"
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
        sizing_table.needed(nodes, pods),
        sizing_table.most(nodes),
    }
    section = sizing_table.PAGE.read_text().partition("## An example")[2].partition("\n## ")[0]
    said = {int(number.replace(",", "")) for number in re.findall(r"[\d,]*\d", section)}
    assert numbers <= said


def test_the_table_of_subnets_is_what_pools_would_take():
    assert sizing_table.table() in sizing_table.PAGE.read_text(), "run: python -m unit.documentation.sizing_table"


@pytest.mark.parametrize(("addresses", "prefix"), [(8, 29), (9, 28), (1904, 21), (2048, 21), (2049, 20)])
def test_a_subnet_has_the_addresses_that_it_is_taken_for(addresses: int, prefix: int):
    assert sizing_table.prefix(addresses) == prefix


@pytest.mark.parametrize(
    ("nodes", "pods", "ended", "surge"),
    [(10, 110, 50, 1), (3, 30, 0, 0), (250, 250, 50, 2), (40, 7, 33, 1), (1, 0, 50, 1)],
)
def test_the_calculator_says_what_the_rules_say(nodes: int, pods: int, ended: int, surge: int):
    (block,) = (one for one in blocks(sizing_table.PAGE.read_text()) if one.language == "bash")
    inputs = f"NODES={nodes} PODS={pods} ENDED={ended} SURGE={surge}"
    script, replaced = re.subn(r"^NODES=\d+ PODS=\d+ ENDED=\d+ SURGE=\d+", inputs, block.text, count=1)
    assert replaced
    done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=False)
    addresses = sizing_table.needed(nodes, pods, ended_percent=ended, surge=surge)
    assert (done.stdout, done.stderr) == (f"{addresses} addresses: a /{sizing_table.prefix(addresses)}\n", "")


def test_the_results_of_grants_are_explained_by_the_words_that_are_counted():
    metrics = (REPOSITORY / "docs" / "metrics.md").read_text()
    (row,) = (line for line in metrics.splitlines() if line.startswith("| `azure_cni_grants_total`"))
    given = [
        keyword.value
        for call in ast.walk(ast.parse(inspect.getsource(pool_updates)))
        if isinstance(call, ast.Call)
        for keyword in call.keywords
        if keyword.arg == "result"
    ]
    ends = [
        end for value in given for end in ((value.body, value.orelse) if isinstance(value, ast.IfExp) else (value,))
    ]
    counted = {end.value for end in ends if isinstance(end, ast.Constant)}
    assert len(counted) == len(ends) > 5
    assert counted == set(re.findall(r"(?:: |, )(\w+)(?= \(|,)", re.sub(r" \([^)]*\)", " ()", row)))


def test_every_page_that_a_check_names_is_there():
    """`azure-cni check` and `status` print addresses of sections as `docs/PAGE.md#section`."""
    code = REPOSITORY / "operator" / "azure_cni"
    named = {
        found
        for file in code.rglob("*.py")
        for found in re.findall(r"\"(docs/[\w-]+\.md(?:#[\w-]+)?)\"", file.read_text())
    }
    assert len(named) > 2
    wrong = []
    for one in sorted(named):
        path, _, anchor = one.partition("#")
        page = REPOSITORY / path
        if not page.exists() or (anchor and anchor not in anchors(page.read_text())):
            wrong.append(one)
    assert wrong == []
