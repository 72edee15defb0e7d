"""Draws what happened: one picture with three panels, and a page that holds it with the words of the summary.

Nodes' addresses against the limit, NIC writes a minute against the budget, and how long nodes waited. The picture is
matplotlib's, which only this module knows; without it a run still says what it has seen.
"""

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simulation import measures
from simulation.run import Outcome

MINUTE_S = 60.0
INK, MUTED, GRID = "#1f2933", "#6b7785", "#e4e7eb"
GRANTED, ON_NICS, ASSIGNED, LIMIT = "#9fb3c8", "#2166ac", "#1b9e77", "#b2182b"
PAGE = """<!doctype html>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #1f2933; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }}
img {{ max-width: 100%; }}
pre {{ background: #f5f7fa; padding: 1rem; overflow-x: auto; }}
</style>
<h1>{title}</h1>
<img alt="Addresses, NIC writes and waiting times over the run" src="data:image/png;base64,{picture}">
<pre>{words}</pre>
"""


def draw(outcome: Outcome, words: Sequence[str], directory: Path) -> list[Path]:
    """Write NAME.png and NAME.html; nothing where matplotlib is missing. Gives what was written."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return []
    scenario = outcome.run.scenario
    name = scenario.name + (f"-seed-{outcome.run.seed}" if scenario.faults_s else "")
    title = f"{scenario.nodes} nodes want {scenario.demand:,} addresses, {scenario.limit:,} are allowed"
    figure = Figure(figsize=(11, 10), layout="constrained", facecolor="white")
    figure.suptitle(title, color=INK, fontsize=14, x=0.01, ha="left")
    axes = figure.subplots(3, 1, height_ratios=[3, 2, 2])
    _addresses(axes[0], outcome)
    _writes(axes[1], outcome)
    _waits(axes[2], outcome)
    directory.mkdir(parents=True, exist_ok=True)
    picture, page = directory / f"{name}.png", directory / f"{name}.html"
    figure.savefig(picture, dpi=110)
    encoded = base64.b64encode(picture.read_bytes()).decode()
    page.write_text(PAGE.format(title=html.escape(title), picture=encoded, words=html.escape("\n".join(words))))
    return [picture, page]


def _addresses(axis: Any, outcome: Outcome) -> None:
    samples = outcome.history.samples
    minutes = [_minute(outcome, sample.at_s) for sample in samples]
    _plain(axis, "Addresses")
    axis.axhline(outcome.run.scenario.limit, color=LIMIT, linewidth=1.5, label="limit of the VNet")
    axis.step(minutes, [s.granted for s in samples], where="post", color=GRANTED, linewidth=5, label="granted")
    axis.step(minutes, [s.on_nics for s in samples], where="post", color=ON_NICS, linewidth=2, label="on NICs")
    axis.step(minutes, [s.assigned for s in samples], where="post", color=ASSIGNED, linewidth=1.5, label="pods have")
    axis.set_xlim(0, _end(outcome))
    axis.set_ylim(0, outcome.run.scenario.limit * 1.1)
    axis.legend(loc="lower right", frameon=False, labelcolor=INK)


def _writes(axis: Any, outcome: Outcome) -> None:
    per_minute: dict[int, int] = {}
    before = 0
    for sample in outcome.history.samples:
        minute = int(max(0.0, _minute(outcome, sample.at_s)))
        per_minute[minute] = per_minute.get(minute, 0) + sample.writes - before
        before = sample.writes
    _plain(axis, "NIC writes in each minute")
    axis.bar([minute + 0.5 for minute in per_minute], list(per_minute.values()), width=0.9, color=ON_NICS)
    budget = outcome.run.scenario.writes_per_minute
    axis.axhline(budget, color=LIMIT, linewidth=1.5, label="budget")
    axis.set_xlim(0, _end(outcome))
    axis.set_ylim(0, max([*per_minute.values(), budget]) * 1.15)
    axis.set_xlabel("minutes since the first node asked", color=MUTED)
    axis.legend(loc="upper right", frameon=False, labelcolor=INK)


def _waits(axis: Any, outcome: Outcome) -> None:
    waits = [seconds / MINUTE_S for seconds in measures.served_s(outcome)]
    _plain(axis, "Nodes that have got all their addresses, by how long they waited (minutes)")
    share = [100 * (number + 1) / len(waits) for number in range(len(waits))]
    axis.step(waits, share, where="post", color=ON_NICS, linewidth=2)
    allowed = measures.budget_s(outcome) / MINUTE_S
    axis.axvline(allowed, color=LIMIT, linewidth=1.5, label="what the budget allows for all")
    axis.set_xlim(0, max([*waits, allowed]) * 1.05)
    axis.set_ylim(0, 105)
    axis.yaxis.set_major_formatter("{x:.0f} %")
    axis.legend(loc="upper left", frameon=False, labelcolor=INK)


def _plain(axis: Any, title: str) -> None:
    axis.set_title(title, loc="left", color=INK, fontsize=11)
    axis.grid(axis="y", color=GRID)
    axis.set_axisbelow(True)
    axis.tick_params(colors=MUTED, length=0)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.spines["bottom"].set_color(GRID)


def _end(outcome: Outcome) -> float:
    """Where the picture ends: a little after all is granted, not after the rest."""
    samples = outcome.history.samples
    last_s = outcome.settled_s or (samples[-1].at_s if samples else MINUTE_S)
    return max(1.0, _minute(outcome, last_s) * 1.05)


def _minute(outcome: Outcome, at_s: float) -> float:
    return (at_s - measures.began_s(outcome)) / MINUTE_S
