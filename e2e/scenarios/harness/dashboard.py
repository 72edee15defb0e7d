"""The dashboard of the chart as Grafana asks Prometheus for it: panels, and their queries with variables filled in."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from azurebox.facts import REPOSITORY

FILE: Final = REPOSITORY / "charts" / "azure-cni" / "files" / "dashboard.json"
WINDOW: Final = "1m"
"""What Grafana makes of `$__rate_interval` where Prometheus scrapes each 15 s."""


def dashboard() -> dict[str, Any]:
    """The file."""
    found: dict[str, Any] = json.loads(FILE.read_text())
    return found


def filled(expr: str, shown: Mapping[str, Any], *, window: str = WINDOW) -> str:
    """A query as it is sent, with the values that the dashboard begins with, and rates over the window."""
    chosen = {one["name"]: one["current"]["value"] for one in shown["templating"]["list"] if "current" in one}
    return re.sub(r"\$\{(\w+)\}", lambda found: str(chosen[found[1]]), expr).replace("$__rate_interval", window)


def queries(row: str, *, window: str = WINDOW) -> Iterator[tuple[str, str]]:
    """Title and query of each panel below the row whose name begins so, up to the next row."""
    shown, current = dashboard(), ""
    for panel in shown["panels"]:
        if panel["type"] == "row":
            current = panel["title"]
        elif current.startswith(row):
            yield from ((panel["title"], filled(target["expr"], shown, window=window)) for target in panel["targets"])
