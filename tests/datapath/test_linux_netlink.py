"""The netlink socket itself: which answer belongs to which question."""

from __future__ import annotations

import pytest

from azure_cni.errors import DatapathError
from azure_cni.linux import rtnetlink
from azure_cni.linux import rtnetlink_format as rt
from azure_cni.linux.netlink import Netlink

LOOPBACK = 1


@pytest.mark.parametrize("ended_early", [1, 3])
def test_the_answer_to_a_question_that_was_given_up_is_not_mistaken_for_this_ones(ended_early: int) -> None:
    with Netlink() as kernel:
        for _ in range(ended_early):  # a time-out leaves the answer in the socket
            kernel._send([kernel._frame(rt.RTM_GETLINK, 0, rt.IFINFO.pack(0, 0, LOOPBACK, 0, 0))])
        found = rtnetlink.link(kernel, "lo")
        assert found is not None
        assert found.index == LOOPBACK
        assert rtnetlink.link(kernel, "no-such") is None
        with pytest.raises(DatapathError, match="cannot read interface x"):
            rtnetlink.link(kernel, "x" * 40)
