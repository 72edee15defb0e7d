"""The stage: one installation that all scenarios share, and the rule that each leaves the cluster as it found it.

A module runs with the values in its `VALUES` (QUICK when it names none); the product is upgraded when they change.
What the scenarios measure is printed at the end. `make e2e` gives a few that failed a second attempt.
"""

import json
from collections.abc import Callable, Generator, Iterator
from functools import partial

import pytest

from azurebox import docker_host, release
from azurebox.client import Box
from azurebox.second_attempt import SecondAttempt
from azurebox.steps import StepError
from scenarios.harness import attacks
from scenarios.harness.attacks import Comparison
from scenarios.harness.caller import Caller
from scenarios.harness.cloud import Cloud
from scenarios.harness.node import Node
from scenarios.harness.pods import NAMESPACE, ON_NODE, START_S, server_spec
from scenarios.harness.product import QUICK, Product
from scenarios.harness.stage import Stage, await_rest, put_right, strangers

GONE_S = 180.0

FIGURES = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--nic-writer",
        choices=("agent", "controller"),
        default="agent",
        help="who writes the NICs: the chart's nicWriter",
    )
    parser.addoption(
        "--mode", choices=release.MODES, default=release.MODES[0], help="how pods hang on nodes: the chart's mode"
    )
    parser.addoption(
        "--attack-rounds", type=int, default=attacks.ROUNDS, help="how often each attack is made, with a rest before"
    )
    parser.addoption(
        "--docker", choices=docker_host.VERSIONS, default=docker_host.VERSIONS[0], help="which engine of Docker"
    )
    parser.addoption(
        "--docker-rounds", type=int, default=2, help="how often a hundred containers are started and removed"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = []
    config.pluginmanager.register(Told(config))
    config.pluginmanager.register(SecondAttempt())


class Told:
    """Why a scenario failed is said at once: what is left to do may take half an hour, and may be interrupted."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and terminal is not None:
            terminal.ensure_newline()
            terminal.write_line(f"{report.nodeid}, {report.when}: {report.longreprtext}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.stash[FIGURES]:
        terminalreporter.section("figures, as measured in this run")
        for line in config.stash[FIGURES]:
            terminalreporter.line(line)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Beside a failure, what somebody would look at first."""
    report = yield
    if report.failed:
        for title, command in (
            ("pools", ("get", "nodeippools", "-o", "wide")),
            ("pods", ("get", "pods", "-A", "-o", "wide")),
            ("warnings", ("get", "events", "-A", "--field-selector=type=Warning", "--sort-by=.lastTimestamp")),
            (
                "agents",
                ("logs", "-n", "kube-system", "-l", "app.kubernetes.io/name=azure-cni", "--prefix", "--tail=8"),
            ),
        ):
            try:
                said = Box().kubectl(*command)
            except StepError as error:
                said = str(error)
            report.sections.append((title, "\n".join(said.splitlines()[-40:])))
    return report


@pytest.fixture(scope="session")
def box() -> Box:
    return Box()


@pytest.fixture(scope="session")
def cloud(box: Box) -> Cloud:
    return Cloud(box)


@pytest.fixture(scope="session")
def attack_rounds(pytestconfig: pytest.Config) -> int:
    return int(pytestconfig.getoption("attack_rounds"))


@pytest.fixture(scope="session")
def product(box: Box, pytestconfig: pytest.Config) -> Product:
    return Product(box, nic_writer=pytestconfig.getoption("nic_writer"), mode=pytestconfig.getoption("mode"))


@pytest.fixture(scope="session")
def nodes(box: Box) -> list[Node]:
    """Both nodes."""
    return [Node(box, name) for name in box.nodes][:2]


@pytest.fixture(scope="session", autouse=True)
def stage(box: Box, product: Product, nodes: list[Node]) -> Iterator[None]:
    """A namespace, and in it a test server in each node's own network."""
    if there := strangers(nodes):
        pytest.exit(
            "cannot begin: the scenarios count addresses and need the nodes for themselves, but pods run there: "
            f"{'; '.join(there)}. Delete them, or start again with e2e/box down",
            returncode=3,
        )
    box.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    box.apply(_on_the_nodes())
    box.kubectl("rollout", "status", "-n", NAMESPACE, f"daemonset/{ON_NODE}", f"--timeout={START_S:.0f}s")
    yield
    box.kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    product.use({})
    box.azure("PUT", "/permissions", {"actions": ["*"]})
    gone = ("get", "namespace", NAMESPACE, "--ignore-not-found")
    box.wait_for(lambda: not box.kubectl(*gone), GONE_S, f"the namespace {NAMESPACE} to be gone")


@pytest.fixture(scope="module", autouse=True)
def as_found(
    request: pytest.FixtureRequest, product: Product, reset: Callable[[], None], rest: Callable[[], None]
) -> Iterator[None]:
    """Every module begins and ends with pools at rest; with the defaults that would take minutes."""
    reset()
    product.use(getattr(request.module, "VALUES", QUICK))
    yield
    product.use(QUICK)
    rest()


@pytest.fixture(scope="session")
def rest(box: Box, nodes: list[Node]) -> Callable[[], None]:
    """Waits until both pools are at rest without help, and all sources agree about them."""
    return partial(await_rest, box, nodes)


@pytest.fixture(scope="session")
def reset(
    pytestconfig: pytest.Config,
    box: Box,
    product: Product,
    cloud: Cloud,
    nodes: list[Node],
) -> Callable[[], None]:
    """Brings both pools to rest, whatever a scenario that failed has left behind."""

    def reset_all() -> None:
        if ended := put_right(Stage(box, product, cloud, nodes)):
            pytestconfig.stash[FIGURES].append(f"had ended and was started again: {', '.join(ended)}")

    return reset_all


@pytest.fixture(scope="module")
def agent(box: Box, product: Product, nodes: list[Node]) -> Caller:
    """The agent of the first node."""
    return Caller(box, product.agent(nodes[0])["metadata"]["name"])


@pytest.fixture(scope="module")
def controller(box: Box, product: Product) -> Caller:
    """One of the controllers."""
    return Caller(box, product.controller()["metadata"]["name"])


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Keeps a line with what was measured, to be printed at the end."""

    def add(line: str) -> None:
        request.config.stash[FIGURES].append(line)

    return add


@pytest.fixture(scope="session")
def compared(request: pytest.FixtureRequest) -> Callable[[Comparison], None]:
    """Keeps what an attack cost: a line to be printed at the end, and all figures in a file."""
    attacks.FIGURES.unlink(missing_ok=True)

    def add(comparison: Comparison) -> None:
        request.config.stash[FIGURES].append(comparison.line())
        with attacks.FIGURES.open("a") as file:
            file.write(json.dumps(comparison.document()) + "\n")

    return add


def _on_the_nodes() -> dict[str, object]:
    spec = server_spec() | {"hostNetwork": True, "tolerations": [{"operator": "Exists"}]}
    labels = {"app": ON_NODE}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": ON_NODE, "namespace": NAMESPACE},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}},
    }
