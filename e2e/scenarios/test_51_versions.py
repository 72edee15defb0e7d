"""Upgrades from the last release, the way back, and two versions side by side (docs/releases.md).

What agents, controllers and plugins of two versions say to each other crosses the real socket and the real API server,
whose definitions are those of the chart that was installed last.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

import pytest

from azurebox import earlier, release
from azurebox.client import Box
from azurebox.earlier import Release
from azurebox.machine import Machine
from azurebox.node import load_image
from scenarios.harness.node import BINARY, Node
from scenarios.harness.pods import servers
from scenarios.harness.product import CONTROLLERS, DAEMON_SET, NAMESPACE, QUICK, ROLLOUT_S, Product
from scenarios.harness.running import Running, running_pods, waiting_records
from scenarios.harness.runtime import accepted, collect, sandboxes
from scenarios.harness.stream import unbroken

Version: TypeAlias = Literal["last", "newest"]

KEPT = "/opt/cni/bin/azure-cni-of-"
GROWN = 40
"""More pods than the sixteen addresses that a node holds at rest."""
AT_REST = 16
MOST_FRESH = 20
RIGHT_AGAIN_S = 240.0


class Versions:
    """The newest version, which the box has built, and the last release: one of them is installed."""

    def __init__(self, product: Product, last: Release) -> None:
        self._product, self._last = product, last
        self.images = {"newest": product.image, "last": f"{last.repository}:{last.tag}"}

    def upgrade(self, to: Version, **values: object) -> None:
        """Run helm upgrade, which returns once the API server has everything."""
        self._product.helm_upgrade({**QUICK, **values}, of=self._last if to == "last" else None)

    def install(self, version: Version) -> None:
        """Have all of it be of one version, and nothing of another."""
        if self.running("agent") | self.running("controller") != {version}:
            self.upgrade(version)
            self._product.await_ready()
        assert (self.running("agent"), self.running("controller")) == ({version}, {version})

    def running(self, component: str) -> set[str]:
        """Of which versions the agents or controllers are."""
        names = {image: version for version, image in self.images.items()}
        return {names.get(image, image) for image in self._product.images(component)}


@pytest.fixture(scope="module")
def versions(box: Box, product: Product, nodes: list[Node]) -> Iterator[Versions]:
    """The last release is installed at first; each node keeps the plugins of both versions beside the one in use."""
    last = earlier.last_release()
    for name in box.nodes:
        load_image(Machine(name), last.archive)
    made = Versions(product, last)
    for version in ("newest", "last"):
        made.install(version)
        for node in nodes:
            node.run("cp", BINARY, KEPT + version)
    yield made
    for node in nodes:
        node.run("sh", "-c", f"rm -f {KEPT}*")


@pytest.fixture(scope="module")
def running(box: Box, versions: Versions, nodes: list[Node]) -> Iterator[Running]:
    """They are started under the last release, and stay while all scenarios run."""
    assert versions.running("agent") == {"last"}
    with running_pods(box, nodes) as pods:
        yield pods


@pytest.mark.parametrize(("plugin", "agent"), [("newest", "last"), ("last", "newest")])
def test_a_plugin_and_an_agent_of_two_versions(
    versions: Versions, running: Running, nodes: list[Node], plugin: Version, agent: Version
) -> None:
    """Each verb, by a binary that is not the one that this agent installs."""
    node, binary = nodes[0], KEPT + plugin
    versions.install(agent)
    assert node.run("sha256sum", KEPT + "last").split()[0] != node.run("sha256sum", KEPT + "newest").split()[0]
    with sandboxes(node, binary=binary) as make:
        kept, stale = make(), make()
        for one in (kept, stale):
            one.add()
            assert one.address in node.on_nic() & node.routes()
            assert accepted(one.check()) == {}
        assert accepted(kept.call("ADD")) == kept.result, "a repeat gives the same"
        assert accepted(kept.call("STATUS")) == {}
        assert accepted(collect(node, node.attachments() - {stale.attachment}, binary=binary)) == {}
        assert stale.attachment not in node.attachments()
        assert accepted(kept.call("DEL", {"prevResult": kept.result})) == {}
        assert kept.attachment not in node.attachments()
    node.agrees(assigned=len(running.on(node)))


@pytest.mark.parametrize(("before", "after"), [("last", "newest"), ("newest", "last")])
def test_dels_that_found_no_agent_are_carried_out_by_another_version(
    box: Box, versions: Versions, running: Running, product: Product, nodes: list[Node], before: Version, after: Version
) -> None:
    """Pods end between two versions; what the plugin of one recorded, the agent of the other releases."""
    node = nodes[0]
    versions.install(before)
    with servers(box, "ending", node=node.name, replicas=3) as ending:
        with product.away():
            ending.settle(0)
            assert len(waiting_records(node)) >= 3
            versions.upgrade(after)
        assert versions.running("agent") == {after}
        box.wait_for(lambda: not waiting_records(node), RIGHT_AGAIN_S, "the recorded DELs to be carried out")
    node.agrees(assigned=len(running.on(node)))


def test_upgrade_and_rollback_under_load(
    box: Box,
    versions: Versions,
    running: Running,
    product: Product,
    nodes: list[Node],
    figure: Callable[[str], None],
) -> None:
    """From the last release's chart to the newest and back: no request is lost, all new pods start, all others end."""
    versions.install("last")
    changes: tuple[tuple[Version, Callable[[], object]], ...] = (
        ("newest", lambda: versions.upgrade("newest")),
        ("last", product.helm_rollback),
    )
    for version, change in changes:
        with unbroken(box, *running.flows) as report, _fresh_pods(box, product, nodes[0], change) as fresh:
            assert (versions.running("agent"), versions.running("controller")) == ({version}, {version})
            for node in nodes:
                node.agrees(assigned=len(running.on(node)) + (fresh if node is nodes[0] else 0))
            assert set(product.restarts().values()) == {0}
        figure(f"to the {version} version, nothing lost, {fresh} new pods started: {'; '.join(report)}")


def test_agents_of_before_with_controllers_of_now(
    box: Box, versions: Versions, running: Running, product: Product, nodes: list[Node]
) -> None:
    """As in an upgrade, until the DaemonSet has come to a node; with the newest definitions."""
    versions.install("last")
    with unbroken(box, *running.flows):
        versions.upgrade("newest", **{"agent.updateStrategy.type": "OnDelete"})
        box.kubectl("rollout", "status", "-n", NAMESPACE, CONTROLLERS, f"--timeout={ROLLOUT_S}s")
        box.wait_for(
            lambda: versions.running("controller") == {"newest"}, ROLLOUT_S, "the controllers of before to be gone"
        )
        product.leader()
        assert versions.running("agent") == {"last"}
        _grows_and_shrinks(box, nodes[1], running)
        assert versions.running("agent") == {"last"}


def test_agents_of_now_with_controllers_of_before(
    box: Box, versions: Versions, running: Running, product: Product, nodes: list[Node]
) -> None:
    """As in an upgrade that is stuck at its controllers."""
    versions.install("last")
    with unbroken(box, *running.flows):
        box.kubectl("rollout", "pause", "-n", NAMESPACE, CONTROLLERS)
        try:
            versions.upgrade("newest")
            box.kubectl("rollout", "status", "-n", NAMESPACE, DAEMON_SET, f"--timeout={ROLLOUT_S}s")
            box.wait_for(lambda: versions.running("agent") == {"newest"}, ROLLOUT_S, "the agents of before to be gone")
            assert versions.running("controller") == {"last"}
            _grows_and_shrinks(box, nodes[1], running)
            assert versions.running("controller") == {"last"}
        finally:
            box.kubectl("rollout", "resume", "-n", NAMESPACE, CONTROLLERS)
        product.await_ready()
    assert versions.running("controller") == {"newest"}


@contextmanager
def _fresh_pods(box: Box, product: Product, node: Node, change: Callable[[], object]) -> Iterator[int]:
    """Pods are asked for before, while and after all is replaced, and others end meanwhile; how many there are then."""
    with (
        servers(box, "ending", node=node.name, replicas=3) as ending,
        servers(box, "fresh", node=node.name) as fresh,
    ):
        fresh.scale(2)
        change()
        ending.scale(0)
        for asked in range(4, MOST_FRESH + 1, 2):
            fresh.scale(asked)
            if asked > MOST_FRESH // 2 and release.nodes_ready():
                break
        product.await_ready()
        fresh.ready(asked)
        ending.ready(0)
        yield asked


def _grows_and_shrinks(box: Box, node: Node, running: Running) -> None:
    """More pods than the node has addresses for, which takes grants; then its pool, and what it is granted, shrink."""
    with servers(box, "grown", node=node.name) as grown:
        grown.settle(GROWN)
        node.agrees(assigned=GROWN + len(running.on(node)))
    box.wait_for(lambda: len(node.on_nic()) == AT_REST, RIGHT_AGAIN_S, f"the pool of {node.name} to shrink")
    box.wait_for(lambda: node.shown()["GRANTED"] == str(AT_REST), RIGHT_AGAIN_S, f"the grant of {node.name} to follow")
    node.agrees(assigned=len(running.on(node)))
