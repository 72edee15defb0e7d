"""How often a node writes its NIC for what pods have attached."""

from __future__ import annotations

from azure_cni.ipam.attachment_plan import AttachmentPace
from azure_cni.ipam.limits import ATTACH_WRITE_S, ATTACH_WRITES_AT_ONCE


def test_some_at_once_and_then_one_after_each_pause() -> None:
    pace, now_s = AttachmentPace(), 1000.0
    for _ in range(ATTACH_WRITES_AT_ONCE):
        assert pace.next_at_s(now_s) == now_s
        pace = pace.after_write(now_s)
    assert pace.next_at_s(now_s) == now_s + ATTACH_WRITE_S
    assert pace.next_at_s(now_s + 4.0) == now_s + ATTACH_WRITE_S
    pace = pace.after_write(now_s + ATTACH_WRITE_S)
    assert pace.next_at_s(now_s + ATTACH_WRITE_S) == now_s + 2 * ATTACH_WRITE_S


def test_a_rest_saves_no_more_than_the_first_ones() -> None:
    pace, later_s = AttachmentPace().after_write(0.0), 1e6
    for _ in range(ATTACH_WRITES_AT_ONCE):
        pace = pace.after_write(later_s)
    assert pace.next_at_s(later_s) > later_s
