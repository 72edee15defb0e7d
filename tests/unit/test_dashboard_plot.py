"""The picture of the dashboard has every panel, and says of each what Prometheus answered."""

import xml.etree.ElementTree as ET
from pathlib import Path

from bench.dashboard_plot import draw, name_of
from scenarios.harness.dashboard import dashboard, filled, queries

PANELS = dashboard()["panels"]


def test_each_panel_is_there_with_its_lines(tmp_path: Path):
    asked: list[str] = []

    def ask(query: str):
        asked.append(query)
        if "azure_cni_internal_errors_total" in query:
            return []
        labels = {"instance": "vm1", "state": "assigned"}
        return [{"metric": labels, "values": [[0, "1"], [60, "42"]]}]

    picture = tmp_path / "dashboard.svg"
    draw(dashboard(), ask, picture)
    words = ["".join(one.itertext()).strip() for one in ET.parse(picture).getroot().iter() if one.tag.endswith("}text")]
    assert {panel["title"] for panel in PANELS} <= set(words)
    assert words.count("42") == sum(panel["type"] == "stat" for panel in PANELS)
    assert words.count("empty") == 1
    assert "vm1" in words
    assert len(asked) == sum(len(panel.get("targets", ())) for panel in PANELS)
    assert not [query for query in asked if "$" in query]


def test_all_panels_are_of_the_same_minutes(tmp_path: Path):
    """A series that ended earlier ends earlier in the picture."""

    def ask(query: str):
        long = "azure_cni_pool_addresses" in query
        return [{"metric": {}, "values": [[0, "1"], [600 if long else 60, "2"]]}]

    picture = tmp_path / "dashboard.svg"
    draw(dashboard(), ask, picture)
    words = ["".join(one.itertext()).strip() for one in ET.parse(picture).getroot().iter() if one.tag.endswith("}text")]
    graphs = sum(panel["type"] not in {"row", "stat"} for panel in PANELS)
    assert (words.count("minutes"), words.count("\N{MINUS SIGN}10")) == (graphs, graphs)


def test_a_query_has_the_variables_of_the_dashboard():
    shown = {"templating": {"list": [{"name": "datasource"}, {"name": "pods", "current": {"value": "a-.+"}}]}}
    assert filled('rate(x{pod=~"${pods}"}[$__rate_interval])', shown) == 'rate(x{pod=~"a-.+"}[1m])'


def test_a_line_is_named_by_its_labels():
    assert name_of("{{instance}} {{code}}", {"instance": "vm1"}) == "vm1"
    assert name_of("p99", {}) == "p99"


def test_each_panel_is_below_one_row():
    titles = [title for row in ("Alive", "Doing", "Wrong") for title, _ in queries(row)]
    assert titles == [panel["title"] for panel in PANELS for _ in panel.get("targets", ())]
