"""Odd input by the million, for the plugin and each reader of the product: what `make test` does for seconds.

    make fuzz ARGS="[--inputs 1000000] [--seed 1] [--only plugin,nic,...] [--guided]"

The same seed draws the same inputs. The first input for which something does not hold ends the run, and is named. With
`--guided` Go also looks for inputs of its own making, led by what they reach in the plugin: what it finds, it leaves in
operator/cni-plugin/testdata/fuzz, where the plugin's tests try it from then on.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from property import test_odd_answers, test_odd_cluster_answers, test_odd_documents, test_odd_files, test_odd_words
from property.odd_bytes import Boundary, walk

REPOSITORY = Path(__file__).parents[2]
GO = (str(REPOSITORY / "e2e" / "box"), "go", "-C", str(REPOSITORY / "operator" / "cni-plugin"), "test", "-timeout", "0")
TARGETS = ("FuzzConfig", "FuzzEnvironment", "FuzzAnswer")

MOST_MIB = 200
"""By which reading odd input may let the process grow, whatever it is."""
FRACTIONS = {"manifests": 500, "ledger": 20, "lists": 20}
"""Slow parts, and by how much fewer inputs they get: whole files of YAML, SQLite databases, lists byte by byte."""

Part = Callable[[int, int], object]
"""Tries that number of inputs of a seed. Whatever it raises is a finding."""


def plugin(count: int, seed: int) -> str:
    """The plugin's standard input, its environment and the agent's answers, by the plugin's own tests."""
    drawn = ("-args", "-inputs", str(count), "-seed", str(seed))
    subprocess.run([*GO, "-count", "1", "-run", "OddInputs", ".", *drawn], check=True)
    return f"{count} calls"


def guided(count: int, _: int) -> str:
    """The same, by inputs of Go's making."""
    for target in TARGETS:
        subprocess.run([*GO, "-run", "none", "-fuzz", f"^{target}$", "-fuzztime", f"{count}x", "."], check=True)
    return f"{count} calls for each of {', '.join(TARGETS)}"


def bounded(name: str, boundary: Boundary) -> Part:
    """The part that gives this reader odd input."""
    return lambda count, seed: walk(name, boundary, max(1, count // FRACTIONS.get(name, 1)), seed=seed)


def parts(directory: Path) -> dict[str, Part]:
    """All of them, by name; files are made in the directory."""
    documents: dict[str, Part] = {
        kind: lambda count, seed, kind=kind, look=look: asyncio.run(  # type: ignore[misc]
            test_odd_documents.walk(count, seed=seed, kinds={kind: look})
        )
        for kind, look in test_odd_documents.KINDS.items()
    }
    answers: dict[str, Part] = {
        "answers": lambda count, seed: asyncio.run(test_odd_answers.walk(count, seed=seed)),
    }
    readers = test_odd_files.boundaries(directory) | test_odd_words.BOUNDARIES | test_odd_cluster_answers.BOUNDARIES
    return {"plugin": plugin} | documents | answers | {name: bounded(name, one) for name, one in readers.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when all held."""
    with tempfile.TemporaryDirectory(dir=test_odd_files.MEMORY) as directory:
        return run(parts(Path(directory)), arguments)


def run(known: dict[str, Part], arguments: Sequence[str] | None) -> int:
    """Those of the parts that are asked for."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="of each part (default 1,000,000)")
    parser.add_argument("--seed", type=int, default=1, help="which ones (default 1)")
    parser.add_argument("--only", default=",".join(known), help=f"parts, of: {', '.join(known)}")
    parser.add_argument("--guided", action="store_true", help="let Go look for inputs to the plugin, too")
    options = parser.parse_args(arguments)
    chosen = options.only.split(",")
    if unknown := [name for name in chosen if name not in known]:
        parser.error(f"there is no part {', '.join(unknown)}")
    logging.disable(logging.CRITICAL)
    began_mib = grown_mib()
    for name, part in [(name, known[name]) for name in chosen] + ([("guided", guided)] if options.guided else []):
        began = time.monotonic()
        outcome = part(options.inputs, options.seed)
        print(
            f"{name}: {options.inputs:,} inputs of seed {options.seed} in {time.monotonic() - began:.0f} s: {outcome}"
        )
    grown = grown_mib() - began_mib
    print(f"the process has grown by {grown} MiB, of {MOST_MIB}")
    return int(grown > MOST_MIB)


def grown_mib() -> int:
    """The most that this process had in memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


if __name__ == "__main__":
    sys.exit(main())
