"""What `make bench ARGS=speed` makes of its measurements."""

import xml.etree.ElementTree as ET

from bench.speed_figures import figures, ratio, table
from bench.speed_plot import MOST, WIDTH, drawn

VALUES = {
    "gbit_s": {"host to host": [10.0, 5.0, 8.0], "ptp, one node": [9.0, 4.5, 7.2]},
    "p50_us": {"host to host": [20.0, 40.0, 20.0], "ptp, one node": [80.0, 160.0, 100.0]},
}
DOCUMENT = {
    "machine": {"cpus": 2, "kernel": "6.18", "load": [1.0, 2.5]},
    "rounds": 3,
    "seconds": 0.2,
} | figures(VALUES, base="host to host")


def test_a_ratio_is_of_the_same_round_so_that_a_slow_minute_changes_nothing() -> None:
    assert [round(it, 6) for it in ratio(VALUES["gbit_s"]["ptp, one node"], VALUES["gbit_s"]["host to host"])] == [
        0.9
    ] * 3


def test_an_interval_holds_the_median_and_is_the_same_again() -> None:
    first, again = (ratio([1.0, 2.0, 9.0, 1.5], [1.0, 1.0, 1.0, 1.0]) for _ in (1, 2))
    assert first == again
    middle, low, high = first
    assert 1 <= low < middle < high <= 9


def test_the_table_says_machine_load_and_ratios() -> None:
    lines = table(DOCUMENT).splitlines()
    assert "2 CPUs, kernel 6.18, load 1.0 before and 2.5 after, 3 rounds of 0.2 s" in lines[0]
    assert lines[-2:] == [
        "| host to host | 8.0 | 20.0 |",
        "| ptp, one node | 7.2: 0.90 (0.90 to 0.90) | 100.0: 4.00 (4.00 to 5.00) |",
    ]


def test_the_picture_has_a_bar_for_each_way_and_none_beyond_its_edge() -> None:
    picture = ET.fromstring(drawn(DOCUMENT))
    bars = picture.findall("{http://www.w3.org/2000/svg}rect")
    assert len(bars) == 2
    assert all(float(bar.get("x", "")) + float(bar.get("width", "")) < WIDTH for bar in bars)
    shorter, longest = (float(bar.get("width", "")) for bar in bars)
    assert round(shorter / longest, 2) == 0.9 / MOST
    assert "4.00" in [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]
