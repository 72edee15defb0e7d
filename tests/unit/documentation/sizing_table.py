"""The table of subnets in docs/sizing.md, made from the rules of pools.

`PYTHONPATH=operator:tests:e2e .venv/bin/python -m unit.documentation.sizing_table` rewrites it.
"""

import re

from azure_cni.ipam import sizing
from azure_cni.ipam.limits import MAX_ADDRESSES_PER_NODE
from unit.chart.helm import REPOSITORY

PAGE = REPOSITORY / "docs" / "sizing.md"
NODES = (3, 10, 50, 100, 250)
PODS = (30, 60, 110)
ENDED_PERCENT = 50
OF_AZURE = 5
"""Addresses of each subnet that Azure keeps."""


def needed(nodes: int, pods: int, *, ended_percent: int = ENDED_PERCENT, surge: int = 1) -> int:
    """Addresses of a subnet with this many nodes and pods on each, while some pods have just ended."""
    policy = sizing.Policy()
    busy = sizing.target(policy, assigned=pods, waiting=0, cooling=pods * ended_percent // 100)
    quiet = sizing.target(policy, assigned=pods, waiting=0, cooling=0)
    return nodes * busy + nodes + OF_AZURE + surge * (quiet + 1)


def most(nodes: int) -> int:
    """Addresses of a subnet whose nodes hold as many as they may."""
    return nodes * MAX_ADDRESSES_PER_NODE + nodes + OF_AZURE


def prefix(addresses: int) -> int:
    """The length of the prefix of the smallest subnet with these."""
    return 32 - (addresses - 1).bit_length()


def table() -> str:
    """A row for each number of nodes."""
    head = ["nodes", *(f"{pods} pods on each" for pods in PODS), "250 on each, the maximum"]
    rows = [
        [str(nodes), *(cell(needed(nodes, pods)) for pods in PODS), cell(most(nodes))]
        for nodes in NODES
    ]  # fmt: skip
    return (
        "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]).replace("| --- ", "|---")
        + "\n"
    )


def cell(addresses: int) -> str:
    return f"{addresses:,}: /{prefix(addresses)}"


if __name__ == "__main__":
    PAGE.write_text(re.sub(r"(?m)^(TABLE\n|\| nodes \|.*\n(\|.*\n)+)", lambda _: table(), PAGE.read_text()))
