"""What one run is: its size, its limits, its speed, and what of that each process is given."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from simulation.observer import PER_NIC
from simulation.pace import Pace
from simulation.shapes import Shape, mixed

EARLY = 4
"""Tenths of all pods, where some nodes are hungry."""
RUN_FILE = "run.json"
AZURE_FILE = "azure.json"


def _help(words: str) -> dict[str, str]:
    """What the command line says of a field."""
    return {"help": words}


@dataclass(frozen=True, slots=True)
class Scenario:
    """Times are simulated seconds; each field but the name is an option of the command line."""

    name: str
    nodes: int = field(metadata=_help("VMs, each with one NIC"))
    demand: int = field(metadata=_help("pods of all nodes together, each of which wants an address"))
    limit: int = field(default=16_000, metadata=_help("addresses that the VNet may have"))
    writes_per_minute: int = field(default=100, metadata=_help("NIC writes that all nodes together may make"))
    speed: float = field(default=10.0, metadata=_help("how many times as fast as outside; 1 is real time"))
    node_processes: int = field(default=2, metadata=_help("processes that the nodes share"))
    operation_s: float = field(default=10.0, metadata=_help("how long Azure takes over one write of a NIC"))
    start_s: float = field(default=10.0, metadata=_help("within this time all nodes come up"))
    rest_s: float = field(
        default=0.0, metadata=_help("how long to look at the cluster at rest, once all is granted; 0: not at all")
    )
    within_s: float = field(default=3600.0, metadata=_help("when a run that has not come to an end has failed"))
    faults_s: float = field(
        default=0.0, metadata=_help("within this time things go wrong, as the seed decides; 0: nothing does")
    )

    liars: int = field(
        default=0, metadata=_help("how many of the nodes write anything into their pools, as the seed decides")
    )

    subnet_prefix: int = field(
        default=15, metadata=_help("length of the prefix of the nodes' subnet: 22 has room for 1,019 addresses")
    )
    spare: int = field(default=0, metadata=_help("addresses that each node keeps ready for further pods"))
    hungry: int = field(
        default=0,
        metadata=_help(
            "how many of the nodes get six tenths of all pods, once the others keep the rest of the addresses"
        ),
    )

    mix: str = field(
        default="vm",
        metadata=_help(
            "what the nodes are, by turns, with commas between: vm, uniform (instances of a scale set), blocks, "
            "windows, dual (both families)"
        ),
    )

    def shape_of(self, name: str) -> tuple[Shape, int]:
        """What the node of that name is, and its place in the run."""
        shapes, index = mixed(self.mix), int(name.rpartition("-")[2]) - 1
        return shapes[index % len(shapes)], index

    def vm_of(self, name: str) -> str:
        """The node's machine, as the fake names it."""
        shape, index = self.shape_of(name)
        return shape.vm(name, index)

    def nic_of(self, name: str) -> str:
        """The node's NIC, as the ledger names it."""
        shape, index = self.shape_of(name)
        return shape.nic(name, index)

    @property
    def node_names(self) -> list[str]:
        return [f"node-{number:04}" for number in range(1, self.nodes + 1)]

    @property
    def honest_names(self) -> list[str]:
        return self.node_names[: self.honest]

    @property
    def liar_names(self) -> list[str]:
        return self.node_names[self.honest :]

    @property
    def honest(self) -> int:
        return self.nodes - self.liars

    def demand_of(self, index: int) -> int:
        """Pods of the honest node of that index: as even as can be, but for hungry nodes, which come first."""
        if not self.hungry:
            return self.demand // self.honest + (index < self.demand % self.honest)
        early = self.early_of(index)
        late = self.demand - early * self.honest
        return early + (late // self.hungry + (index < late % self.hungry) if index < self.hungry else 0)

    def early_of(self, index: int) -> int:
        """Those of them that are there when the node comes up."""
        return EARLY * self.demand // (10 * self.honest) if self.hungry else self.demand_of(index)

    @property
    def late_s(self) -> float:
        """When the others come: the nodes that are up have what they want by then."""
        return self.start_s + 1.2 * 60.0 * self.nodes / self.writes_per_minute + 30.0

    @property
    def room(self) -> int:
        """What the subnet has for pods: Azure keeps five addresses, and each node has one of its own."""
        return int(2 ** (32 - self.subnet_prefix)) - 5 - self.nodes

    @property
    def wanted(self) -> int:
        """Addresses that are on NICs in the end, when nothing goes wrong."""
        return min(self.limit, self.room, sum(map(self.on_nic_of, range(self.honest))))

    def on_nic_of(self, index: int) -> int:
        """What the NIC of the honest node of that index has for pods when nothing is short: whole blocks, if any."""
        step = self.step_of(index)
        return min(-(-self.demand_of(index) // step) * step, PER_NIC // step * step)

    @property
    def dual(self) -> bool:
        """Nodes of the run have both families."""
        return any(shape.dual for shape in mixed(self.mix))

    def step_of(self, index: int) -> int:
        """How many addresses the node of that index gets at once, at least."""
        shapes = mixed(self.mix)
        return shapes[index % len(shapes)].step


PRESETS = {
    "ci": Scenario("ci", nodes=40, demand=1250, limit=1000, writes_per_minute=30, speed=20.0),
    "mixed": Scenario(
        "mixed",
        nodes=21,
        demand=525,
        limit=420,
        writes_per_minute=30,
        speed=20.0,
        mix="vm,uniform,blocks,windows,dual",
    ),
    "far": Scenario("far", nodes=5000, demand=60_000, limit=60_000, start_s=600.0, node_processes=4, within_s=7200.0),
    "full": Scenario("full", nodes=640, demand=20_000, start_s=60.0, rest_s=1800.0),
    "many": Scenario("many", nodes=2000, demand=16_000, start_s=300.0, rest_s=1800.0),
    "dense": Scenario("dense", nodes=64, demand=16_000, rest_s=1800.0),
    "hungry": Scenario(
        "hungry", nodes=40, demand=1000, limit=1000, writes_per_minute=60, speed=5.0, hungry=4, spare=15
    ),
    "crowded": Scenario(
        "crowded", nodes=40, demand=979, writes_per_minute=60, speed=5.0, subnet_prefix=22, hungry=4, spare=15
    ),
    "byzantine": Scenario(
        "byzantine", nodes=40, liars=2, demand=1900, limit=2400, writes_per_minute=60, speed=4.0, rest_s=60.0
    ),
}


def seeded(scenario: Scenario) -> Scenario:
    """The same with faults: for as long as it takes to grant everything without them, and some more.

    With liars the seed draws their lies alone.
    """
    if scenario.liars:
        return scenario
    return replace(scenario, faults_s=60.0 * scenario.nodes / scenario.writes_per_minute + 70.0, rest_s=0.0)


@dataclass(frozen=True, slots=True)
class Run:
    """What every process of a run is given. `token` makes whoever shows it an administrator of the API server."""

    scenario: Scenario
    pace: Pace
    seed: int
    directory: Path
    api_url: str
    api_ca: Path
    token: str

    def save(self) -> Path:
        path = self.directory / RUN_FILE
        path.write_bytes(msgspec.json.encode(self, enc_hook=str))
        return path

    @classmethod
    def load(cls, path: str) -> "Run":
        return msgspec.json.decode(Path(path).read_bytes(), type=cls, dec_hook=lambda _, text: Path(text))


@dataclass(frozen=True, slots=True)
class Machine:
    """A VM as its metadata service would show it, and a token of its own identity."""

    resource_id: str
    vm_id: str
    mac: str
    primary_ip: str
    token: str


@dataclass(frozen=True, slots=True)
class AzureFacts:
    """Where the fake Azure is, and what is in it."""

    arm: str
    imds: str
    ca_file: Path
    admin_socket: Path
    machines: dict[str, Machine]
    later_token: str
    """For machines that come later: of an identity that any of them may use."""

    @classmethod
    def load(cls, directory: Path) -> "AzureFacts":
        content = (directory / AZURE_FILE).read_bytes()
        return msgspec.json.decode(content, type=cls, dec_hook=lambda _, text: Path(text))


def gone_file(directory: Path, name: str) -> Path:
    """Is there while the node is deleted."""
    return directory / f"{name}.gone"


def machine_of(directory: Path, azure: AzureFacts, name: str) -> Machine:
    """The node's machine: the newest that was made under its name."""
    later = _later_file(directory, name)
    return msgspec.json.decode(later.read_bytes(), type=Machine) if later.exists() else azure.machines[name]


def replace_machine(directory: Path, name: str, machine: Machine) -> None:
    """Another machine has come under that name."""
    made = directory / f"{name}.machine.new"
    made.write_bytes(msgspec.json.encode(machine))
    made.rename(_later_file(directory, name))


def _later_file(directory: Path, name: str) -> Path:
    return directory / f"{name}.machine"
