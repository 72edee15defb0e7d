"""The chart's dashboard as a picture, from what a Prometheus answers: each panel's own queries, where Grafana has it.

On the box, in Prometheus' network, for the last 15 minutes (`--minutes`):

ip netns exec azbox-cp env PYTHONPATH=operator:tests:e2e .venv/bin/python -m bench.dashboard_plot \
  http://127.0.0.1:9090 docs/dashboard.svg
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode
from urllib.request import urlopen

from scenarios.harness.dashboard import dashboard, filled

POINTS: Final = 90
COLUMNS: Final = 24
LINES: Final = 6
"""The most lines of a panel that get a name under it."""
INK, MUTED, GRID = "#1f2933", "#6b7785", "#e4e7eb"
COLOURS: Final = ("#2166ac", "#1b9e77", "#d95f02", "#7570b3", "#e7298a", "#66a61e", "#e6ab02", "#a6761d", "#6b7785")

Answer = Mapping[str, Any]
"""One series of a range query: `metric`, its labels, and `values`, pairs of seconds and text."""
Line = tuple[str, list[float], list[float]]
"""Its name, seconds, values."""
Ask = Callable[[str], list[Answer]]
"""PromQL to the series that it gives over the time that is drawn."""


def name_of(legend: str, labels: Mapping[str, str]) -> str:
    """A line's name: `{{label}}` in the legend is that label's value."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), legend).strip()


def lines_of(panel: Mapping[str, Any], shown: Mapping[str, Any], ask: Ask) -> list[Line]:
    """The lines of a panel."""
    return [
        (
            name_of(target["legendFormat"], one["metric"]),
            [float(at) for at, _ in one["values"]],
            [float(value) for _, value in one["values"]],
        )
        for target in panel["targets"]
        for one in ask(filled(target["expr"], shown))
    ]


def draw(shown: Mapping[str, Any], ask: Ask, target: Path) -> None:
    """Draw all panels into an SVG."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams |= {
        "svg.fonttype": "none", "svg.hashsalt": "azure-cni", "font.family": "sans-serif", "font.size": 8,
        "axes.edgecolor": GRID, "text.color": INK, "axes.labelcolor": MUTED, "xtick.color": MUTED, "ytick.color": MUTED,
    }  # fmt: skip
    from matplotlib import pyplot as plt

    panels = shown["panels"]
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = plt.figure(figsize=(15, rows * 0.34))
    drawn: list[tuple[Any, list[Line], str]] = []
    for panel in panels:
        place = panel["gridPos"]
        left, bottom = place["x"] / COLUMNS, 1 - (place["y"] + place["h"]) / rows
        width, height = place["w"] / COLUMNS, place["h"] / rows
        if panel["type"] == "row":
            figure.text(left + 0.012, bottom + height * 0.3, panel["title"], size=12, weight="bold")
            continue
        found = lines_of(panel, shown, ask)
        figure.text(left + 0.012, bottom + height - 0.2 / rows, panel["title"], size=9, va="top")
        if panel["type"] == "stat":
            value = f"{found[0][2][-1]:g}" if found else "no data"
            figure.text(left + width / 2, bottom + height * 0.4, value, size=22, ha="center", va="center")
            continue
        box = (left + 0.045, bottom + height * 0.3, width - 0.06, height * 0.5)
        drawn.append((figure.add_axes(box), found, panel["fieldConfig"]["defaults"]["unit"]))
    times = [at for _, found, _ in drawn for _, times, _ in found for at in times]
    for axes, found, unit in drawn:
        _draw_lines(axes, found, unit, begin=min(times), end=max(times))
    figure.savefig(target, metadata={"Date": None})
    plt.close(figure)


def _draw_lines(axes: Any, found: list[Line], unit: str, *, begin: float, end: float) -> None:
    """Over the time of all panels, `begin` to `end`: side by side, they must tell of the same minutes."""
    axes.grid(visible=True, color=GRID, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if not found:
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "empty", ha="center", va="center", color=MUTED, transform=axes.transAxes)
        return
    for number, (name, times, values) in enumerate(found):
        label = (name or "value") if number < LINES else None
        minutes = [(at - end) / 60 for at in times]
        axes.plot(minutes, values, color=COLOURS[number % len(COLOURS)], linewidth=1.2, label=label)
    axes.set_ylim(bottom=0)
    axes.set_xlim((begin - end) / 60, 0)
    axes.tick_params(labelsize=7, length=2)
    axes.set_xlabel("minutes", size=6.5, labelpad=1)
    axes.set_ylabel({"ops": "a second", "percentunit": "share", "s": "seconds"}.get(unit, ""), size=7)
    axes.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.24), ncols=3, frameon=False, fontsize=6.5, handlelength=1)


def prometheus(url: str, minutes: float) -> Ask:
    """Range queries to the Prometheus there. Raises: OSError when it does not answer."""
    end = time.time()
    start, step = end - minutes * 60, minutes * 60 / POINTS

    def ask(query: str) -> list[Answer]:
        asked = urlencode({"query": query, "start": start, "end": end, "step": step})
        with urlopen(f"{url}/api/v1/query_range?{asked}", timeout=30) as reply:
            found: list[Answer] = json.load(reply)["data"]["result"]
            return found

    return ask


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--minutes", type=float, default=15)
    chosen = parser.parse_args()
    draw(dashboard(), prometheus(chosen.url, chosen.minutes), chosen.picture)


if __name__ == "__main__":
    main()
