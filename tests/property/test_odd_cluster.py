"""Objects as no API server should have them: each command that reads them ends with an answer, none with a traceback.

Seeded and bounded; `ODD_OBJECTS=N` multiplies the counts.
"""

from __future__ import annotations

import os
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner

from azure_cni.commands.reads import NODES, PODS, POOLS, QUOTAS
from azure_cni.entrypoints.cli import main
from fakes.cluster_access import FakeClusterAccess
from property.mutations import mutated
from unit.diagnose.clusters import EVENTS, cluster, condition, event, node, pod, pool, process, quota

TIMES = int(os.environ.get("ODD_OBJECTS", "1"))
DIGITS = "9" * 5000
"""More than Python reads as a number."""
COMMANDS = (
    ("status",),
    ("check",),
    ("check", "-o", "yaml"),
    ("why", "web"),
    ("why", "-A"),
    ("who", "10.240.0.36"),
    ("addresses",),
    ("addresses", "-o", "json"),
)


def a_cluster() -> FakeClusterAccess:
    labelled = pod("other", ip="10.240.0.4", host=True)
    labelled["metadata"]["labels"] = {"k8s-app": "cilium"}
    return cluster(
        pod("web"),
        labelled,
        pools=[pool("vm1", condition("Ready", False, "SubnetFull", "no room"), waiting=1)],
        quotas=[quota(condition("Ready", False, "QuotaExceeded", "full"))],
        nodes=[node(), node("vm2", tainted=True)],
        processes=[process("agent", ready=False), process("controller", ready=False)],
        events=[event("web", "NoAddress", "waits")],
    )


def with_digits(value: Any, random: Random) -> Any:
    """Some of its texts are, or end in, very many digits."""
    match value:
        case dict():
            return {key: with_digits(one, random) for key, one in value.items()}
        case list():
            return [with_digits(one, random) for one in value]
        case str() if random.random() < 0.3:
            return random.choice((DIGITS, f"v1.{DIGITS}", f"v{DIGITS}.1", f"{value}{DIGITS}"))
        case _:
            return value


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_object_ends_a_command_with_a_traceback(command: tuple[str, ...]):
    for seed in range(40 * TIMES):
        random, access = Random(seed), a_cluster()
        for collection in (NODES, PODS, POOLS, QUOTAS, EVENTS):
            for body in access.objects[collection]:
                for part in (one for one in ("spec", "status") if one in body):
                    change = random.choice((mutated, with_digits, lambda same, _: same))
                    body[part] = change(body[part], random)
        found = CliRunner().invoke(main, command, obj=access)
        assert found.exception is None or isinstance(found.exception, SystemExit), (seed, repr(found.exception)[:300])
        assert found.exit_code in {0, 1, 3}, (seed, found.output)
