"""Pictures of a terminal: they show what was printed, with its colours, and load nothing from anywhere."""

import os
import re
import xml.etree.ElementTree as ET

from azure_cni.ipam.audit_records import AuditKind
from azure_cni.ipam.exhaustion import daily_peaks, fit
from azure_cni.ipam.usage_history import usage_hours
from bench.terminal_pictures import DAYS, GROWTH, HOUR_S, trail
from bench.terminal_plot import drawn, record

NOW_S = 1_800_000_000.0


def words(picture: str) -> str:
    texts = (one for one in ET.fromstring(picture).iter() if one.tag.endswith("}text"))
    return " ".join("".join(one.itertext()) for one in texts).replace("\xa0", " ")


def test_the_command_believes_that_it_is_on_a_terminal_of_that_width_and_its_errors_are_left_out():
    script = 'test -t 1 && stty size <&1; echo lost >&2; echo "$NO_COLOR$TERM"; exit 3'
    environment = os.environ | {"NO_COLOR": "1"}
    assert record(["sh", "-c", script], environment=environment, columns=77) == "200 77\nxterm-256color\n"


def test_a_picture_has_the_words_in_their_colours():
    picture = drawn("azure-cni status", "\x1b[31m! node vm1: SubnetFull\x1b[0m\n\x1b[1mNODE\x1b[0m  <READY>\n")
    assert "azure-cni status" in words(picture)
    assert "! node vm1: SubnetFull" in words(picture)
    assert "<READY>" in words(picture)
    red = re.search(r"\.(terminal-r\d+) \{ fill: #ff6b68 \}", picture)
    assert red
    assert f'class="{red[1]}"' in picture


def test_words_are_where_they_were_printed_without_the_blanks_around_them():
    (one,) = re.findall(
        r'<text [^>]*x="([0-9.]+)"[^>]*textLength="([0-9.]+)"[^>]*>here</text>', drawn("x", "   here  \n")
    )
    assert one == ("36.6", "48.8")


def test_a_picture_needs_nothing_else():
    picture = drawn('azure-cni {why} "a" <b>', "text\n")
    assert re.findall(r"https?://[^\"\s]+", picture) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"@font-face|<image|<script|url\((?!#)", picture)
    assert ET.fromstring(picture).attrib["aria-label"] == 'What azure-cni {why} "a" <b> prints'


def test_the_trail_behind_the_forecast_is_one_that_grows_as_it_says():
    begin_s = NOW_S - DAYS * 24 * HOUR_S
    for base, per_day in GROWTH:
        records = list(trail("vm1", base, per_day, begin_s, NOW_S))
        assert {one.event for one in records} == {AuditKind.ASSIGNED, AuditKind.RETURNED, AuditKind.NIC_WRITTEN}
        hours = usage_hours(records, node="vm1", now_s=NOW_S)
        growth = fit(daily_peaks([(one.hour * HOUR_S, one.peak) for one in hours], now_s=NOW_S))
        assert growth
        assert abs(growth.per_day - per_day) < 0.2 * per_day
        assert growth.level < 250
        assert max(one.burst for one in hours[1:]) < 8
