"""What docs/getting-started.md shows azure-cni to answer is what it answers, before the tests' own cluster."""

import pytest

from azure_cni.commands import lab_keeper, network_run
from fakes.cluster_access import FakeClusterAccess
from scenarios.harness import page
from unit.chart.helm import REPOSITORY
from unit.commands.lab_cluster import LabCluster
from unit.commands.running import A, run
from unit.diagnose.clusters import cluster, node, pod, pool, process

PAGE = REPOSITORY / "docs" / "getting-started.md"
POD = "web-6d4b75cb6d-hp5ts"
NAMES = ("vm1", "vm2")


def bare() -> FakeClusterAccess:
    """Nodes, and nothing of azure-cni."""
    return cluster(nodes=[node(name) for name in NAMES], pools=[], quotas=[], processes=[])


def installed() -> FakeClusterAccess:
    """And one pod with an address of the first pool."""
    return cluster(
        pod(POD, ip=A, phase="Running"),
        nodes=[node(name) for name in NAMES],
        pools=[pool("vm1"), pool("vm2", vnetAddresses=["10.240.0.68 azure-cni-0ccccccc"])],
        processes=[process(component, name) for component in ("agent", "controller") for name in NAMES],
    )


@pytest.mark.parametrize(
    ("typed", "access", "words"),
    [
        ("azure-cni check --pre", bare(), ("check", "--pre")),
        ("azure-cni status --wait", installed(), ("status", "--wait")),
        ("azure-cni why $POD", installed(), ("why", POD)),
        ("azure-cni who $ADDRESS", installed(), ("who", A)),
        ("azure-cni test --image $IMAGE", LabCluster(), ("test", "--image", "agnhost")),
    ],
)
def test_an_answer_is_as_the_page_shows_it(
    typed: str, access: FakeClusterAccess, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    for module in (lab_keeper, network_run):
        monkeypatch.setattr(module, "LOOK_AGAIN_S", 0.0)
    monkeypatch.setattr(network_run, "SETTLING_S", 0.0)
    (command,) = (one for one in page.commands(PAGE.read_text()) if one.text == typed)
    done = run(access, *words)
    assert done.exit_code == 0, done.stdout + done.stderr
    assert [line for line in command.shown if line != page.LEFT_OUT]
    assert page.missing(command.shown, done.stdout) == []
