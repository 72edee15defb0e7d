"""The figures of a run of `bench.speed` as a picture: bars of ratios, with their intervals.

PYTHONPATH=operator:tests:e2e python -m bench.speed_plot FIGURES.json PICTURE.svg
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from bench.speed_figures import METRICS

WIDTH, LEFT, RIGHT = 860, 250, 90
ROW, HEAD, GAP = 20, 30, 14
MOST = 2.0
"""The ratio at the right edge; a longer bar ends there, with its figure beside it."""
COLOURS = {"azure-cni, transparent": "#0f6cbd", "azure-cni, bridge": "#5b9bd5", "ptp": "#8a8886"}
TEXT, LINE = "#605e5c", "#a19f9d"


def drawn(document: Mapping[str, Any]) -> str:
    """An SVG of its own: a part for each metric, a bar for each way but the base, which is the line at 1."""
    found, base = document["figures"], document["base"]
    parts: list[str] = []
    top = 0
    for name, metric in METRICS.items():
        if name not in found:
            continue
        ways = {way: one for way, one in found[name].items() if way != base}
        better = "longer is better" if metric.more else "shorter is better"
        of_base = f"{found[name][base]['median']:.{metric.digits}f}"
        parts.append(_text(8, top + 18, f"{metric.title}; 1 is {base}: {of_base} ({better})", weight="bold"))
        bottom = top + HEAD + ROW * len(ways)
        parts.append(f'<path d="M{_x(1):.0f} {top + HEAD - 4}V{bottom}" stroke="{LINE}" stroke-dasharray="3 3"/>')
        for number, (way, one) in enumerate(ways.items()):
            parts += _bar(top + HEAD + ROW * number, way, one)
        top = bottom + GAP
    style = "font-family='sans-serif' font-size='13'"
    body = "\n".join(parts)
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" {style}>\n{body}\n</svg>\n'


def _bar(top: int, way: str, one: Mapping[str, float]) -> list[str]:
    colour = next((colour for name, colour in COLOURS.items() if way.startswith(name)), TEXT)
    middle = top + ROW / 2 - 2
    return [
        _text(LEFT - 8, top + 13, way, anchor="end"),
        f'<rect x="{LEFT}" y="{top + 2}" width="{_x(one["ratio"]) - LEFT:.1f}" height="{ROW - 7}" fill="{colour}"/>',
        f'<path d="M{_x(one["low"]):.1f} {middle}H{_x(one["high"]):.1f}" stroke="{LINE}" stroke-width="2"/>',
        _text(WIDTH - RIGHT + 12, top + 13, f"{one['ratio']:.2f}"),
    ]


def _x(ratio: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * min(ratio, MOST) / MOST


def _text(x: float, y: float, words: str, *, anchor: str = "start", weight: str = "normal") -> str:
    style = f'text-anchor="{anchor}" font-weight="{weight}" fill="{TEXT}"'
    return f'<text x="{x}" y="{y}" {style}>{escape(words)}</text>'


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    target.write_text(drawn(json.loads(source.read_text())))
